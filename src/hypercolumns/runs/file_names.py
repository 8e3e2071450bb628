"""Names of the files in a run's folder that other modules read or write too."""

RUN_FILE = "run.json"  # the run's identity, and when it finished
METRICS = "metrics.json"  # the run's metrics
COUNTS = "images.npz"  # a confusion matrix per scored image, see `evaluation.Evaluation`
