"""Sweeps: run many jobs from one command, and collect their results in a table."""
