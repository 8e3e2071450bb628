"""Runs: one folder for each run of a stage, from its identity to its figures."""
