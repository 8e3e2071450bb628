"""Stage validate: whether all images and masks of a set can be used, and what they hold."""

import itertools
from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.data import quarantine, shared_ids
from hypercolumns.errors import BadDataError, escape_control_chars
from hypercolumns.io.files import write_json
from hypercolumns.reports import dataset
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.data import listed_images
from hypercolumns.settings.inference import quiet_libraries


def validate(cfg: DictConfig) -> Path:
    """Decode all pairs of all splits, and print and write what is found; returns the folder of the report.

    Neither the network nor its weights have a part in it. Raises BadDataError if a file can't be used.
    """
    check_settings(cfg)
    quiet_libraries()
    images, _ = listed_images(cfg)
    pairs = list(itertools.chain(*images.splits.values()))
    found = list(quarantine.check_files(cfg, images, pairs, "validate"))
    in_order = iter(found)
    examinations = {split: list(itertools.islice(in_order, len(of))) for split, of in images.splits.items()}
    faults = quarantine.problem_rows(images, {split: [one.faults for one in of] for split, of in examinations.items()})
    summary, shared = dataset.summarise(images, examinations), shared_ids(images)
    dataset.print_dataset(summary, faults, shared)  # before it is written, which may not be possible
    folder = quarantine.checks_dir(cfg, images)
    of_pairs = zip(pairs, found, strict=True)
    quarantine.save_checks(cfg, images, {quarantine.file_signature(pair): one.faults for pair, one in of_pairs})
    dataset.write_problems(folder / "offenders.csv", faults)
    dataset.write_class_counts(folder / "classes.csv", summary)
    write_json(folder / "summary.json", summary | {"faults": len(faults), "in_several_splits": shared})
    console.print(f"{'report':>9}  {escape_control_chars(folder)}", markup=False)
    if faults:
        bad = sum(of["images"] - of["usable"] for of in summary["splits"].values())
        raise BadDataError(
            f"data {images.name}: {bad} of {len(pairs)} images can't be used; {folder / 'offenders.csv'} lists their "
            f"faults: mend them, take them out, or leave them out by data.on_bad=skip"
        )
    return folder
