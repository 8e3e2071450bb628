"""Count the values and colours of all masks of a data set once, and keep the counts for later commands."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, __version__
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import file_signature, read_json, write_json
from hypercolumns.io.masks import MaskSummary, summarise_mask
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import track
from hypercolumns.runtime.signals import ignore_signals_in_worker

SURVEY = "masks.json"
VERSION = 1  # increase it when `summarise_mask` returns something else than before
MIN_FOR_WORKERS = 200  # number of masks; fewer are read faster than worker processes start

Survey = dict[Path, MaskSummary]  # the summary of each mask file that can be used


class MaskSummaryDataset(Dataset[MaskSummary | None]):
    """Dataset of the summaries of mask files; None for a file that can't be used.

    Args:
        paths: the mask files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> MaskSummary | None:
        """Summarise the file at an index."""
        try:
            return summarise_mask(self.paths[index])
        except HypercolumnsError:  # the check of the files reports it
            return None


def survey_masks(images: DatasetIndex, folder: Path, num_workers: int = 0) -> Survey:
    """Count the values and colours of all masks of a data set.

    Rank 0 reads the masks that have no saved counts. The other ranks wait for the counts.

    Args:
        images: the data set.
        folder: the folder of the saved counts.
        num_workers: the number of worker processes that read masks; 0: this process reads them.

    Returns:
        The summary of each mask file. Files that can't be used are left out.
    """
    paths = sorted({pair.mask for pair in itertools.chain(*images.splits.values())})
    known = distributed.broadcast_from_rank_zero(lambda: _count(paths, folder, num_workers))
    return {path: known[str(path)] for path in paths if str(path) in known}


def _count(paths: Sequence[Path], folder: Path, num_workers: int) -> dict[str, MaskSummary]:
    """Return the summary of each mask file that can be used, by the path of the file, and save the summaries."""
    signatures = {path: file_signature(path) for path in paths}
    known = _load(folder)
    new = [path for path in paths if signatures[path] not in known]
    if new:
        loader = DataLoader(
            MaskSummaryDataset(new),
            batch_size=None,
            num_workers=num_workers if len(new) >= MIN_FOR_WORKERS else 0,
            worker_init_fn=ignore_signals_in_worker,
        )
        for path, summary in zip(new, track(loader, "read masks", len(new)), strict=True):
            if summary is not None:
                known[signatures[path]] = summary
        with suppress(HypercolumnsError):  # without saved counts, the next command reads the masks again
            _save(folder, {signature: known[signature] for signature in signatures.values() if signature in known})
    return {str(path): known[signatures[path]] for path in paths if signatures[path] in known}


def _load(folder: Path) -> dict[str, MaskSummary]:
    """Return the saved summaries by `file_signature`; {} if there are none, or if other versions saved them."""
    try:
        saved = read_json(folder / SURVEY)
        if saved["version"] != _version():
            return {}
        return {signature: _summary(*fields) for signature, fields in saved["masks"].items()}
    except (HypercolumnsError, LookupError, TypeError, ValueError, AttributeError):
        return {}


def _summary(kind: str, bits: int, counts: Mapping[str, int], colours: Mapping[str, int]) -> MaskSummary:
    """Make a summary from its JSON form, whose keys are texts."""
    return MaskSummary(
        kind,
        bits,
        {int(value): count for value, count in counts.items()},
        {int(value): colour for value, colour in colours.items()},
    )


def _save(folder: Path, summaries: Mapping[str, MaskSummary]) -> None:
    write_json(folder / SURVEY, {"version": _version(), "masks": summaries})


def _version() -> list[object]:
    return [VERSION, __version__, Image.MAX_IMAGE_PIXELS]
