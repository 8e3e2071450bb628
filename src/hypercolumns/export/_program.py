"""Trace a segmenter with torch.export, and check that an exported file agrees with the segmenter."""

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as _sizes
from torch.utils._sympy.value_ranges import ValueRanges

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import MAX_REASON, ArgumentError, HypercolumnsError, is_int
from hypercolumns.export.graph import ExportableSegmenter, OutputKind
from hypercolumns.models.segmenter import Segmenter

InputKind = Literal["uint8", "float"]

# Each size is (number of images, height, width).
TRACED_SIZE = (2, 75, 98)  # large enough that no map of a network has only one cell
# Some are below the minimum size of networks, to check padding; one is larger than the traced size along both axes.
CHECKED_SIZES = ((2, 61, 83), (1, 7, 90), (1, 1, 1), (3, 149, 203))
MAX_DIFFERENCE = 1e-4  # largest allowed difference of the logits, divided by the range of the model's logits
MIN_AGREEMENT = 0.999  # smallest allowed fraction of pixels with equal labels
ONE_SIZE = "set export_size=[height,width] to export it for images of one size, or "
SIZE_REASON = "what its layers do depends on the size of the images, or on their number"
# The maximum number of operations in the formula of a map's side. torch needs minutes for each step with longer ones,
# such as the number of Swin's windows, a product of quotients that are rounded up.
MAX_FORMULA = 64
# Matches torch's errors for code that needs the value of a symbolic size.
TRACING_TERMS = r"Proxy\(|Sym(Int|Float|Bool|Node)|[Gg]uard|Constraint|[Dd]ynamic|symbolic|specializ|\b[su]\d+\b"


class Agreement(NamedTuple):
    """The agreement of an exported file with its model on images of noise.

    Attributes:
        labels: the fraction of pixels to which the file and the model give the same label, in [0, 1].
        logits: the largest absolute difference between the file's logits and the model's, divided by the range of the
            model's logits (the highest minus the lowest). None for a file that outputs labels.
    """

    labels: float
    logits: float | None


def metadata(segmenter: Segmenter) -> dict[str, str]:
    """Return what an exported model does not say, as JSON texts.

    The keys are `classes` and `palette`, the names and the colours of the classes, and `decoding`, the rules by which
    image files become the input of the model. The last key is missing if images are read without rules.
    """
    rules = segmenter.decoding.settings()
    texts = {"classes": json.dumps(segmenter.classes), "palette": json.dumps(segmenter.palette)}
    return texts | ({"decoding": json.dumps(rules)} if rules else {})


def make_program(
    segmenter: Segmenter, input: InputKind, output: OutputKind, size: ImageSize | None = None
) -> ExportedProgram:
    """Trace a segmenter with torch.export. The program accepts any batch size and, without `size`, any image size.

    Args:
        segmenter: the model. The function traces a copy, so the model does not change.
        input: the type of the images that the program takes, "uint8" or "float" in [0, 1].
        output: what the program returns, "labels" or "logits".
        size: the (height, width) in pixels of all images that the program takes; None: any size.

    Returns:
        A program on the CPU that takes images (B, N, H, W), with N = `backbone.input_channels`. B, H and W can be any
        integers of at least 1, or (H, W) is `size`. The program returns labels (B, H, W) uint8 or logits
        (B, classes, H, W) float32.

    Raises:
        ArgumentError: if `input`, `output` or `size` is invalid.
        HypercolumnsError: if the network or one of its taps can't be exported.
    """
    for name, value, known in (("input", input, InputKind), ("output", output, OutputKind)):
        if value not in get_args(known):
            raise ArgumentError(f"{name}={value} is not known; choose one of {', '.join(get_args(known))}")
    sides = size if isinstance(size, list | tuple) else ()
    if size is not None and not (len(sides) == 2 and all(is_int(side, minimum=1) for side in sides)):
        raise ArgumentError(f"size={size} must be [height,width] in pixels, or null")
    graph = ExportableSegmenter(segmenter, output)
    images, height, width = TRACED_SIZE if size is None else (TRACED_SIZE[0], *size)
    channels = segmenter.backbone.input_channels
    example = torch.zeros(images, channels, height, width, dtype=torch.uint8 if input == "uint8" else torch.float32)
    free = Dim.DYNAMIC(min=1)
    variable = {0: free, 2: free, 3: free} if size is None else {0: free}
    any_size = _sizes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # treats a size of 1 like other sizes
    try:
        with torch.no_grad(), any_size, quiet(), _short_formulas(graph.backbone.body):
            program = torch.export.export(graph, (example,), dynamic_shapes=(variable,))
    except Exception as error:  # torch and the network can raise any type of error
        reason = _reason(error)
        raise HypercolumnsError(
            f"{segmenter.backbone.network} with the taps of this model can't be exported ({reason}); "
            f"{ONE_SIZE if reason == SIZE_REASON and size is None else ''}try other taps or another network"
        ) from error
    # Tracing has recorded guards: conditions that the sizes of the images must meet. They only concern how torch lays
    # out maps in memory. The results of the graph do not depend on this layout, so the guards are removed.
    # `check_agreement` runs the file on sizes that the guards would reject.
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
    size: ImageSize | None = None,
) -> Agreement:
    """Compare an exported file with its segmenter on images of noise.

    Args:
        segmenter: the model that was exported.
        run: runs the file on images (B, N, H, W) on the CPU; returns labels (B, H, W) or logits (B, classes, H, W).
        input: the type of the images that `run` takes, "uint8" or "float" in [0, 1].
        output: what `run` returns, "labels" or "logits".
        path: the path of the file, for the error message.
        size: the (height, width) in pixels of all images that `run` takes; None: any size.

    Returns:
        The agreement of the file with the segmenter.

    Raises:
        HypercolumnsError: if `run` fails, if `Agreement.labels` is below `MIN_AGREEMENT`, or if `Agreement.logits` is
            above `MAX_DIFFERENCE` or NaN.
    """
    generator = torch.Generator().manual_seed(0)
    device, channels = segmenter.backbone.device, segmenter.backbone.input_channels
    same = total = 0
    differences: list[float] = []
    ranges: list[tuple[float, float]] = []
    mode = segmenter.training
    segmenter.eval()
    try:
        for count, *sides in CHECKED_SIZES if size is None else ((1, *size), (3, *size)):
            images = torch.randint(0, 256, (count, channels, *sides), generator=generator, dtype=torch.uint8)
            with torch.inference_mode():
                exported = _run(run, images if input == "uint8" else images / 255, path, size)
                logits = segmenter(images.to(device)).float().cpu()
            labels = exported.long() if output == "labels" else exported.argmax(1)
            same, total = same + int((labels == logits.argmax(1)).sum()), total + labels.numel()
            ranges.append((float(logits.min()), float(logits.max())))
            if output == "logits":
                differences.append(float((exported - logits).abs().max()))
    finally:
        segmenter.train(mode)
    extent = max(high for _, high in ranges) - min(low for low, _ in ranges)
    agreement = Agreement(same / total, max(differences) / extent if differences else None)
    if agreement.labels < MIN_AGREEMENT or not (agreement.logits is None or agreement.logits <= MAX_DIFFERENCE):
        difference = agreement.logits
        logits = "" if difference is None else f", logits that differ by up to {difference:.2g} of their range"
        raise HypercolumnsError(
            f"{path} was not written: the exported program does not agree with the model "
            f"({agreement.labels:.2%} equal labels{logits}); {'' if size else ONE_SIZE}use the model without "
            f"exporting it"
        )
    return agreement


def _run(run: Callable[[Tensor], Tensor], images: Tensor, path: str | Path, size: ImageSize | None) -> Tensor:
    """Run an exported file on images of noise, see `check_agreement`."""
    try:
        return run(images)
    except Exception as error:  # the runtimes raise many types of errors
        count, _, height, width = images.shape
        raise HypercolumnsError(
            f"{path} was not written: the exported program fails on {count} images of {width}x{height} pixels "
            f"({_reason(error)}); {'' if size else ONE_SIZE}use the model without exporting it"
        ) from error


@contextlib.contextmanager
def _short_formulas(network: nn.Module) -> Iterator[None]:
    """Raise an error inside a `with` block when a layer's output has a side whose formula exceeds `MAX_FORMULA`."""

    def check(_layer: nn.Module, _inputs: object, output: object) -> None:
        sides = output.shape if isinstance(output, Tensor) else ()
        if any(isinstance(side, torch.SymInt) and side.node.expr.count_ops() > MAX_FORMULA for side in sides):
            raise RuntimeError("a symbolic size has too long a formula")

    hooks = [layer.register_forward_hook(check) for layer in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _reason(error: Exception) -> str:
    """Describe an error of torch in one line. Its words about symbols and guards are of no use to a reader."""
    first_line = str(error).strip().partition("\n")[0]
    if not first_line or re.search(TRACING_TERMS, f"{type(error).__name__} {first_line}"):
        return SIZE_REASON
    return first_line if len(first_line) <= MAX_REASON else f"{first_line[:MAX_REASON]} ..."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warning "No complete tensor found in the group" inside a `with` block.

    torch.export gives this warning when it saves tensors that are parts of a larger block of memory. The warning says
    that only weights outside the CPU can cause problems. All weights of an exported program are on the CPU.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        yield
