"""Stage compare: compare the scores of two runs on the same images."""

from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation, compare
from hypercolumns.io.files import file_hash, short_hash, write_json
from hypercolumns.reports.comparison_tables import print_comparison, write_comparison
from hypercolumns.runs.environment import environment
from hypercolumns.runs.run import Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import origin


def compare_runs(cfg: DictConfig) -> Path:
    """Compare the scores of the run `evaluation` with those of the run `baseline`, and print and write the comparison.

    Returns:
        The folder to which the comparison is written.

    Raises:
        HypercolumnsError: if `evaluation` or `baseline` does not name a scored run, or the runs can't be compared, for
            example because they scored different images.
    """
    check_settings(cfg)
    quiet_libraries()
    if cfg.evaluation is None or cfg.baseline is None:
        raise HypercolumnsError(
            "stage=compare needs evaluation=<the folder of a scored run> and baseline=<the folder of another scored "
            "run>"
        )
    files = {setting: _counts(cfg, setting) for setting in ("evaluation", "baseline")}
    evaluation, baseline = map(Evaluation.load, files.values())
    result = compare(evaluation, baseline, cfg.group_pattern, cfg.bootstrap_samples, cfg.seed)
    compared = {
        setting: {"run": str(file.resolve().parent), "counts": file_hash(file)[:16]} for setting, file in files.items()
    }
    key = short_hash([compared, cfg.group_pattern, cfg.bootstrap_samples, cfg.seed])
    folder = local_path(cfg, "runs") / "comparisons" / key
    write_json(folder / "comparison.json", {"compared": compared, **result})
    write_json(folder / "environment.json", environment(origin(cfg)))
    write_comparison(folder / "comparison.csv", result)
    print_comparison(result, files["evaluation"].parent, files["baseline"].parent)
    console.print(f"{'compared':>9}  {folder / 'comparison.json'}", markup=False)
    return folder


def _counts(cfg: DictConfig, setting: str) -> Path:
    """Return the path of the confusion matrices of all images in the run that a setting names.

    The value of the setting is the folder of the run, or a file in this folder.

    Raises:
        HypercolumnsError: if the folder has no confusion matrices.
    """
    folder = local_path(cfg, setting)
    folder = folder.parent if folder.is_file() else folder
    counts = Run(folder).counts
    if not counts.is_file():
        raise HypercolumnsError(
            f"{setting}={cfg[setting]} holds no {counts.name}; give the folder of a run that scored images (stage "
            f"evaluate, pretrain or train), or the folder out= of a predict.py command with masks="
        )
    return counts
