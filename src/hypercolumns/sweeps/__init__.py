"""Sweeps: many jobs from one command, and the tables that they end in."""
