"""Stage validate: check every image and mask of a data set, and summarise the data set."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.data import quarantine, shared_ids
from hypercolumns.data.checks import ProblemRow, problem_rows, write_problems
from hypercolumns.data.index import DatasetIndex, pair_signature
from hypercolumns.data.near_masks import by_mask_name, nearest_mask_in
from hypercolumns.errors import BadDataError, escape_control_chars
from hypercolumns.io.files import write_json
from hypercolumns.io.mask_source import has_mask
from hypercolumns.reports import dataset
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.data import checks_dir, listed_images
from hypercolumns.settings.inference import quiet_libraries


def validate(cfg: DictConfig) -> Path:
    """Decode all images and masks of all splits, and print and write a report of problems and contents.

    Returns:
        The folder of the report.

    Raises:
        BadDataError: if an image or a mask can't be used; the report is written first.
    """
    check_settings(cfg)
    quiet_libraries()
    images, _ = listed_images(cfg, strict=False)
    pairs = list(itertools.chain(*images.splits.values()))
    checks = list(quarantine.check_files(images, pairs, cfg.num_workers, "validate"))
    in_order = iter(checks)
    by_split = {split: list(itertools.islice(in_order, len(of))) for split, of in images.splits.items()}
    problems = problem_rows(images, {split: [check.problems for check in of] for split, of in by_split.items()})
    problems = _with_near_mask(problems, images, cfg.data.get("mask_name"))
    summary, shared = dataset.summarise(images, by_split), shared_ids(images)
    dataset.print_dataset(summary, problems, shared)  # printed first, because writing the report may fail
    folder = checks_dir(cfg, images)
    of_pairs = zip(pairs, checks, strict=True)
    quarantine.save_checks(folder, images, {pair_signature(pair): check.problems for pair, check in of_pairs})
    write_problems(folder / "offenders.csv", problems)
    dataset.write_class_counts(folder / "classes.csv", summary)
    write_json(folder / "summary.json", summary | {"problems": len(problems), "in_several_splits": shared})
    console.print(f"{'report':>9}  {escape_control_chars(folder)}", markup=False)
    if problems:
        bad = sum(of["images"] - of["usable"] for of in summary["splits"].values())
        unlabelled = sum(not has_mask(pair.mask) for pair in pairs)
        skip = ["data.unlabelled=skip (images without a mask or annotation)"] * (unlabelled > 0)
        skip += ["data.on_bad=skip" + " (other problems)" * (unlabelled > 0)] * (bad > unlabelled)
        raise BadDataError(
            f"data {images.name}: {bad} of {len(pairs)} images can't be used, because the image or its mask has a "
            f"problem; {folder / 'offenders.csv'} lists the problems; repair or remove the files, or set "
            f"{' and '.join(skip)} in later commands to leave these images out"
        )
    return folder


def _with_near_mask(rows: Sequence[ProblemRow], images: DatasetIndex, mask_name: str | None) -> list[ProblemRow]:
    """Name the file that seems to be one of the missing masks, if there is one, in place of the advice to add it."""
    near = nearest_mask_in(images.splits)
    if near is None:
        return list(rows)
    expected, remedy = escape_control_chars(near.expected), near.remedy(by_mask_name(mask_name))
    return [
        row._replace(problem=f"{row.problem.partition(';')[0]}; {remedy}") if row.file == expected else row
        for row in rows
    ]
