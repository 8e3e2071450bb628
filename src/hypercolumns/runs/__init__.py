"""Runs: one folder for each run of a stage, with its identity, model and metrics."""
