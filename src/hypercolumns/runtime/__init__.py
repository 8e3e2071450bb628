"""The running process: randomness, signals, progress, and process groups."""
