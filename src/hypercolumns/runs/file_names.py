"""Names of those files that several modules use, in the folders of runs, stores, sweeps and data sets.

This module and `runs.inventory` import no torch, so that listing the runs is fast.
"""

RUN_FILE = "run.json"  # the run's fingerprint, and when it finished
METRICS = "metrics.json"  # the run's metrics
COUNTS = "images.npz"  # the confusion matrices of each scored image, see `evaluation.Evaluation`
CHECKPOINTS = "checkpoints"  # the folder of best.ckpt, last.ckpt and previous.ckpt
ENVIRONMENT = "environment.json"  # the command, versions and machine that made a run or a store
SWEEP_FILE = "sweep.json"  # what a sweep runs, and the command that started it
RUN_STAGES = (
    "pretrain",
    "train",
    "rank_taps",
    "refine",
    "average",
    "evaluate",
    "annotate",
)  # stages that write runs to <runs>/<data>/<cnn>/<stage>
