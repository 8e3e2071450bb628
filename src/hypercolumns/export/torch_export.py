"""Export a segmenter to a file of torch.export, which runs without this package.

The file takes images (B, N, H, W), uint8 or float in [0, 1], with any B, H and W, and N the number of channels that the
model was trained on, usually 3. With the argument `size`, H and W are its two numbers. For every pixel of the images,
it outputs either labels, (B, H, W) uint8, or logits, (B, classes, H, W) float32. The file also contains the names and
the colours of the classes, as JSON texts. See docs/export.md.
"""

from pathlib import Path

import torch

from hypercolumns.coordinates import ImageSize
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
    segmenter: Segmenter,
    path: str | Path,
    input: InputKind = "uint8",
    output: OutputKind = "labels",
    size: ImageSize | None = None,
) -> Agreement:
    """Write a segmenter to a file of torch.export, and check that the file and the segmenter agree on images of noise.

    `torch.export.load(path).module()` loads the file. The extra file `classes` inside it holds the names of the classes
    and the extra file `palette` holds their colours, both as JSON texts.

    Args:
        segmenter: the model to export.
        path: the file to write; an existing file is replaced.
        input: the type of images that the file takes, "uint8" or "float" in [0, 1].
        output: what the file outputs, "labels" or "logits".
        size: the (height, width) in pixels of all images that the file takes; None: any size. Some networks can only be
            exported for one size.

    Returns:
        The agreement of the file with the segmenter.

    Raises:
        ArgumentError: if `input`, `output` or `size` is invalid.
        HypercolumnsError: if the network can't be exported, if the file can't be written, or if the file does not agree
            with the segmenter, see `check_agreement`. After an error, a file that existed before is unchanged.
    """
    program = make_program(segmenter, input, output, size)
    with atomic_write(Path(path)) as temporary, quiet():
        with temporary.open("wb") as file:  # torch would warn about the temporary path, which does not end in .pt2
            torch.export.save(program, file, extra_files=metadata(segmenter))
        with temporary.open("rb") as file:
            module = torch.export.load(file).module()
        return check_agreement(segmenter, module, input, output, path, size)
