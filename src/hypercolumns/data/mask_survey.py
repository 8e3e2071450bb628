"""Count the values and colours of all masks of a data set once, and keep the counts for later commands."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, __version__
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import read_json, write_json
from hypercolumns.io.mask_source import Mask, mask_signature
from hypercolumns.io.masks import MaskSummary, summarise_mask
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import track
from hypercolumns.runtime.signals import ignore_signals_in_worker

SURVEY = "masks.json"
VERSION = 1  # increase it when `summarise_mask` returns something else than before
MIN_FOR_WORKERS = 200  # number of masks; fewer are read faster than worker processes start

Survey = dict[Mask, MaskSummary]  # the summary of each mask that can be used


class MaskSummaryDataset(Dataset[MaskSummary | None]):
    """Dataset of the summaries of masks; None for a mask that can't be used.

    Args:
        masks: the masks.
    """

    def __init__(self, masks: Sequence[Mask]) -> None:
        self.masks = masks

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.masks)

    def __getitem__(self, index: int) -> MaskSummary | None:
        """Summarise the mask at an index."""
        try:
            return summarise_mask(self.masks[index])
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
        The summary of each mask. Masks that can't be used are left out.
    """
    # All ranks need the same order, which a set would not keep.
    masks = sorted(dict.fromkeys(pair.mask for pair in itertools.chain(*images.splits.values())), key=str)
    summaries = distributed.broadcast_from_rank_zero(lambda: _count(masks, folder, num_workers))
    return {mask: summary for mask, summary in zip(masks, summaries, strict=True) if summary is not None}


def _count(masks: Sequence[Mask], folder: Path, num_workers: int) -> list[MaskSummary | None]:
    """Return the summary of each mask, None if it can't be used, and save the summaries."""
    signatures = {mask: mask_signature(mask) for mask in masks}
    known = _load(folder)
    new = [mask for mask in masks if signatures[mask] not in known]
    if new:
        loader = DataLoader(
            MaskSummaryDataset(new),
            batch_size=None,
            num_workers=num_workers if len(new) >= MIN_FOR_WORKERS else 0,
            worker_init_fn=ignore_signals_in_worker,
        )
        for mask, summary in zip(new, track(loader, "read masks", len(new)), strict=True):
            if summary is not None:
                known[signatures[mask]] = summary
        with suppress(HypercolumnsError):  # without saved counts, the next command reads the masks again
            _save(folder, {signature: known[signature] for signature in signatures.values() if signature in known})
    return [known.get(signatures[mask]) for mask in masks]


def _load(folder: Path) -> dict[str, MaskSummary]:
    """Return the saved summaries by `mask_signature`; {} if there are none, or if other versions saved them."""
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
