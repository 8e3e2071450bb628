"""Files of torch.export, which run without this package.

They take images (B, 3, H, W) of any number and size, uint8 or float in [0, 1], and give labels (B, H, W) uint8 or
logits (B, classes, H, W) float32, of the pixels of the images as they came. The names of the classes and their colours
go with them, as JSON. See docs/serving.md.
"""

from pathlib import Path

import torch

from hypercolumns.export._program import (
    Agreement,
    InputKind,
    check_agreement,
    make_program,
    metadata,
    quiet,
)
from hypercolumns.export.graph import OutputKind
from hypercolumns.io.files import atomic_write
from hypercolumns.models.segmenter import Segmenter


def export_torch(
    segmenter: Segmenter, path: str | Path, input: InputKind = "uint8", output: OutputKind = "labels"
) -> Agreement:
    """Write a `.pt2`, for `torch.export.load(path).module()`, and check what was written against the segmenter.

    Its extra files `classes` and `palette` are JSON.

    Args:
        segmenter: the model.
        path: of the file; where there is one, it is replaced.
        input: the type of images that it takes, "uint8" or "float" in [0, 1].
        output: what it gives, "labels" or "logits".

    Returns:
        How it agrees with the segmenter.

    Raises:
        HypercolumnsError: for a network that can't be exported, a file that can't be written, and one that does
            something else than the segmenter; then there is no file.
    """
    program = make_program(segmenter, input, output)
    with atomic_write(Path(path)) as temporary, quiet():
        with temporary.open("wb") as file:  # torch would warn of the name
            torch.export.save(program, file, extra_files=metadata(segmenter))
        with temporary.open("rb") as file:
            module = torch.export.load(file).module()
        return check_agreement(segmenter, module, input, output, path)
