"""Names of those files in a run's folder that several modules use."""

RUN_FILE = "run.json"  # the run's fingerprint, and when it finished
METRICS = "metrics.json"  # the run's metrics
COUNTS = "images.npz"  # the confusion matrices of each scored image, see `evaluation.Evaluation`
CHECKPOINTS = "checkpoints"  # the folder of best.ckpt, last.ckpt and previous.ckpt
