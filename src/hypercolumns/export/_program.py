"""A segmenter as a program of torch.export, and whether what is written of it agrees with it."""

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as _sizes
from torch.utils._sympy.value_ranges import ValueRanges

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.export.graph import ExportableSegmenter, OutputKind
from hypercolumns.models.segmenter import Segmenter

InputKind = Literal["uint8", "float"]

TRACED_SIZE = (2, 75, 98)  # of a size at which no network's maps are single cells
CHECKED_SIZES = ((2, 61, 83), (1, 7, 90), (1, 1, 1))  # images and their sizes, also such as networks are too large for
MAX_DIFFERENCE = 1e-4  # difference of logits, of their range
MIN_AGREEMENT = 0.999  # labels that are the same


class Agreement(NamedTuple):
    """How a file agrees with the model that it was made of, on images of noise.

    Attributes:
        labels: the share of pixels that get the same label, in [0, 1].
        logits: the largest difference of two logits, relative to their range; None for a file that gives labels.
    """

    labels: float
    logits: float | None


def metadata(segmenter: Segmenter) -> dict[str, str]:
    """What goes with a file: the names of the classes and their colours, as JSON."""
    return {"classes": json.dumps(segmenter.classes), "palette": json.dumps(segmenter.palette)}


def make_program(segmenter: Segmenter, input: InputKind, output: OutputKind) -> ExportedProgram:
    """Trace a segmenter for images of any number and size.

    Raises:
        HypercolumnsError: for a network that can't be exported.
    """
    for name, value, known in (("input", input, InputKind), ("output", output, OutputKind)):
        if value not in get_args(known):
            raise ArgumentError(f"{name}={value} is not known; choose one of {', '.join(get_args(known))}")
    graph = ExportableSegmenter(segmenter, output)
    images, height, width = TRACED_SIZE
    example = torch.zeros(images, 3, height, width, dtype=torch.uint8 if input == "uint8" else torch.float32)
    free = Dim.DYNAMIC(min=1)
    alike = _sizes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    try:
        with torch.no_grad(), alike, quiet():  # where a size of 1 is like all others
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
    except Exception as error:  # torch's words, or the network's own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise HypercolumnsError(
            f"{segmenter.backbone.network} with these taps can't be exported ({reason}); try other taps or "
            f"another network"
        ) from error
    # While it was traced, torch noted of which sizes it assumed something: how it would lay out the network's maps in
    # memory, which the graph does not say. `check_agreement` runs the file on sizes that these notes would refuse.
    program._guards_code.clear()
    for symbol, sizes in program.range_constraints.items():
        program.range_constraints[symbol] = ValueRanges(1, sizes.upper)
    return program


def check_agreement(
    segmenter: Segmenter,
    run: Callable[[Tensor], Tensor],
    input: InputKind,
    output: OutputKind,
    path: str | Path,
) -> Agreement:
    """Run what is written of a segmenter, and the segmenter, on images of noise.

    Args:
        segmenter: what it is of.
        run: from images to labels or logits.
        input: of `run`.
        output: of `run`.
        path: of the file, for the message.

    Returns:
        How they agree.

    Raises:
        HypercolumnsError: if they do not.
    """
    generator = torch.Generator().manual_seed(0)
    device = segmenter.backbone.device
    same = total = 0
    differences: list[float] = []
    ranges: list[tuple[float, float]] = []
    mode = segmenter.training
    segmenter.eval()
    try:
        for count, *size in CHECKED_SIZES:
            images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
            with torch.inference_mode():
                found = run(images if input == "uint8" else images / 255)
                logits = segmenter(images.to(device)).float().cpu()
            labels = found.long() if output == "labels" else found.argmax(1)
            same, total = same + int((labels == logits.argmax(1)).sum()), total + labels.numel()
            ranges.append((float(logits.min()), float(logits.max())))
            if output == "logits":
                differences.append(float((found - logits).abs().max()))
    finally:
        segmenter.train(mode)
    extent = max(high for _, high in ranges) - min(low for low, _ in ranges)
    agreement = Agreement(same / total, max(differences) / extent if differences else None)
    if agreement.labels < MIN_AGREEMENT or not (agreement.logits is None or agreement.logits <= MAX_DIFFERENCE):
        raise HypercolumnsError(
            f"{path} was not written: what would have been does something else than the model (labels alike: "
            f"{agreement.labels:.2%}, logits differ by {agreement.logits} of their range); use the model itself"
        )
    return agreement


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that say nothing of the model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        yield
