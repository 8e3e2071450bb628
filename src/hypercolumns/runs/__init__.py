"""Runs: one folder for each run of a stage, with its fingerprint, model and metrics."""
