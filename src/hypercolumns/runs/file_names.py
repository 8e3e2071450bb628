"""The files in a run's folder that others than the run itself read or write."""

RUN_FILE = "run.json"  # its identity, and when it was finished
METRICS = "metrics.json"  # its figures
COUNTS = "images.npz"  # the pixels of each image that was scored, see `evaluation.Evaluation`
