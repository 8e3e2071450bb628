"""A set of images with masks: which files, which classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercolumns.errors import HypercolumnsError
from hypercolumns.images import VOID, Palette, voc_palette


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class ImageSet:
    """Images with masks, in the splits `train` and `val`.

    Attributes:
        name: of the folder for its runs.
        classes: their names, in the order of the indices in the masks.
        palette: their colours.
        splits: the pairs of each split, in order.
    """

    name: str
    classes: tuple[str, ...]
    palette: Palette
    splits: Mapping[str, tuple[Pair, ...]]

    def fingerprint(self) -> dict[str, object]:
        """What identifies the set, wherever it lies: its classes, and a hash of every id and file's bytes, by split."""
        return {"classes": list(self.classes)} | {split: _hash(pairs) for split, pairs in self.splits.items()}


def image_set(
    name: str, classes: Sequence[str], palette: Palette | None, splits: Mapping[str, Sequence[Pair]]
) -> ImageSet:
    """An ImageSet, checked: raises HypercolumnsError for an empty split, a doubled id or a missing file."""
    for split, pairs in splits.items():
        if not pairs:
            raise HypercolumnsError(f"data {name}: the {split} split has no images")
        seen: set[str] = set()
        doubled = sorted({pair.id for pair in pairs if pair.id in seen or seen.add(pair.id)})  # type: ignore[func-returns-value]
        if doubled:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {_some(doubled)} twice; list each image once"
            )
        missing = [str(path) for pair in pairs for path in (pair.image, pair.mask) if not path.is_file()]
        if missing:
            raise HypercolumnsError(
                f"data {name}: {len(missing)} files of the {split} split are missing: {_some(missing)}; "
                f"add them or take their images off the list"
            )
    palette = palette or voc_palette(len(classes))
    return ImageSet(name, tuple(classes), palette, {split: tuple(pairs) for split, pairs in splits.items()})


def read_lines(path: Path, meaning: str) -> list[str]:
    """The lines of a text file that are not blank; raises HypercolumnsError, saying `meaning`, if it can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HypercolumnsError(f"{meaning}: {path} can't be read as text ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_classes(path: str | Path) -> list[str]:
    """Class names from a file, one a line, in the order of their indices."""
    names = read_lines(Path(path).expanduser(), "data.classes")
    if not 0 < len(names) <= VOID:
        raise HypercolumnsError(f"data.classes={path} holds {len(names)} names; expected 1 to {VOID}, one a line")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise HypercolumnsError(f"data.classes={path} holds {_some(doubled)} twice; give each class its own name")
    return names


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


def _hash(pairs: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.id.encode())
        for path in (pair.image, pair.mask):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
