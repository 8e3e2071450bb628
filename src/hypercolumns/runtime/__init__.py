"""The running process: randomness, signals, progress and distributed ranks."""
