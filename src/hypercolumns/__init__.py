"""Semantic segmentation with hypercolumns."""

from typing import TYPE_CHECKING, Any

from hypercolumns.errors import HypercolumnsError

if TYPE_CHECKING:
    from hypercolumns.models.segmenter import Segmenter

__all__ = ["HypercolumnsError", "Segmenter"]


def __getattr__(name: str) -> Any:
    """Import the segmenter, and with it torch, when it is first asked for: `train.py --help` need not wait for it."""
    if name == "Segmenter":
        from hypercolumns.models.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
