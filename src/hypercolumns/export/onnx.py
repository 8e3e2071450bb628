"""Files of a trained model that run without this package: of ONNX, and of torch.export.

Both take images (B, 3, H, W) of any number and size, uint8 or float in [0, 1], and give labels (B, H, W) uint8 or
logits (B, classes, H, W) float32, of the pixels of the images as they came. The names of the classes and their colours
go with them, as JSON. See docs/serving.md.
"""

import contextlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as _sizes
from torch.utils._sympy.value_ranges import ValueRanges

from hypercolumns.errors import HypercolumnsError
from hypercolumns.export.graph import ExportableSegmenter, Outputs
from hypercolumns.io.files import atomic_write
from hypercolumns.models.segmenter import Segmenter

Inputs = Literal["uint8", "float"]

OPSET = 20
TRACED_SIZE = (2, 75, 98)  # of a size at which no network's maps are single cells
CHECKED_SIZES = ((2, 61, 83), (1, 7, 90), (1, 1, 1))  # images and their sizes, also such as networks are too large for
MAX_SIDE = 1e-4  # difference of logits, of their range
MIN_AGREEMENT = 0.999  # labels that are the same


class Agreement(NamedTuple):
    """How a file agrees with the model that it was made of, on images of noise.

    Attributes:
        labels: the share of pixels that get the same label, in [0, 1].
        logits: the largest difference of two logits, relative to their range; None for a file that gives labels.
    """

    labels: float
    logits: float | None


def export_torch(
    segmenter: Segmenter, path: str | Path, inputs: Inputs = "uint8", outputs: Outputs = "labels"
) -> Agreement:
    """Write a `.pt2`, for `torch.export.load(path).module()`; what was written is checked against the segmenter.

    Its extra files `classes` and `palette` are JSON. Raises HypercolumnsError for a network that can't be exported, a
    file that can't be written, and one that does something else than the segmenter; then there is no file.
    """
    program = _program(segmenter, inputs, outputs)
    with atomic_write(Path(path)) as temporary, _quiet():
        with temporary.open("wb") as file:  # torch would warn of the name
            torch.export.save(program, file, extra_files=_about(segmenter))
        with temporary.open("rb") as file:
            module = torch.export.load(file).module()
        return _checked(segmenter, module, inputs, outputs, path)


def export_onnx(
    segmenter: Segmenter, path: str | Path, inputs: Inputs = "uint8", outputs: Outputs = "labels"
) -> Agreement:
    """Write an ONNX file, of the input `images` and the output `labels` or `logits`; see `export_torch`.

    Its metadata `classes` and `palette` are JSON. Raises HypercolumnsError as `export_torch` does, and if the packages
    for it are missing.
    """
    onnxruntime = _packages()
    program = _program(segmenter, inputs, outputs)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": [outputs]}
    try:
        with torch.no_grad(), _quiet():
            made = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
    except Exception as error:  # of operations that ONNX does not have
        reason = " ".join(str(error).split())[:200]
        raise HypercolumnsError(
            f"cnn.network={segmenter.backbone.network} can't be written as ONNX ({reason}); try export=torch"
        ) from error
    assert made is not None, "it is not given a file to write to"
    _tidy(made.model, outputs)
    made.model.metadata_props.update(_about(segmenter))
    with atomic_write(Path(path)) as temporary:
        made.save(temporary, external_data=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(temporary, settings, providers=["CPUExecutionProvider"])
        return _checked(
            segmenter,
            lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
            inputs,
            outputs,
            path,
        )


def _packages() -> Any:
    """The runtime; raises HypercolumnsError unless all is there that ONNX needs."""
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise HypercolumnsError(
            f"export=onnx needs {error.name}, which is not installed; pip install 'hypercolumns[onnx]', or uv sync "
            f"--extra onnx (export=torch needs nothing more)"
        ) from error


def _tidy(model: Any, outputs: Outputs) -> None:
    """Call the sizes by their names, and drop what nothing uses, of which the runtime would tell whoever loads it."""
    ir, passes = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    classes = [] if outputs == "labels" else [model.graph.outputs[0].shape[1]]
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "height", "width"])
    model.graph.outputs[0].shape = ir.Shape(["batch", *classes, "height", "width"])
    passes.RemoveUnusedNodesPass()(model)


def _about(segmenter: Segmenter) -> dict[str, str]:
    return {"classes": json.dumps(segmenter.classes), "palette": json.dumps(segmenter.palette)}


def _program(segmenter: Segmenter, inputs: Inputs, outputs: Outputs) -> ExportedProgram:
    for setting, value, known in (("export_input", inputs, Inputs), ("export_output", outputs, Outputs)):
        if value not in get_args(known):
            raise HypercolumnsError(f"{setting}={value} is not known; choose one of {', '.join(get_args(known))}")
    graph = ExportableSegmenter(segmenter, outputs)
    images, height, width = TRACED_SIZE
    example = torch.zeros(images, 3, height, width, dtype=torch.uint8 if inputs == "uint8" else torch.float32)
    free = Dim.DYNAMIC(min=1)
    alike = _sizes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    try:
        with torch.no_grad(), alike, _quiet():  # where a size of 1 is like all others
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
    except Exception as error:  # torch's words, or the network's own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise HypercolumnsError(
            f"cnn.network={segmenter.backbone.network} with these taps can't be exported ({reason}); try other taps or "
            f"another network"
        ) from error
    # While it was traced, torch noted of which sizes it assumed something: how it would lay out the network's maps in
    # memory, which the graph does not say. `_checked` runs the file on sizes that these notes would refuse.
    program._guards_code.clear()
    for symbol, sizes in program.range_constraints.items():
        program.range_constraints[symbol] = ValueRanges(1, sizes.upper)
    return program


def _checked(
    segmenter: Segmenter,
    run: Callable[[Tensor], Tensor],
    inputs: Inputs,
    outputs: Outputs,
    path: str | Path,
) -> Agreement:
    """How `run` agrees with the segmenter; raises HypercolumnsError if it does not."""
    generator = torch.Generator().manual_seed(0)
    device = segmenter.backbone.get_buffer("mean").device
    same = total = 0
    differences: list[float] = []
    ranges: list[tuple[float, float]] = []
    mode = segmenter.training
    segmenter.eval()
    try:
        for count, *size in CHECKED_SIZES:
            images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
            with torch.inference_mode():
                found = run(images if inputs == "uint8" else images / 255)
                logits = segmenter(images.to(device)).float().cpu()
            labels = found.long() if outputs == "labels" else found.argmax(1)
            same, total = same + int((labels == logits.argmax(1)).sum()), total + labels.numel()
            ranges.append((float(logits.min()), float(logits.max())))
            if outputs == "logits":
                differences.append(float((found - logits).abs().max()))
    finally:
        segmenter.train(mode)
    extent = max(most for _, most in ranges) - min(least for least, _ in ranges)
    agreement = Agreement(same / total, max(differences) / extent if differences else None)
    if agreement.labels < MIN_AGREEMENT or not (agreement.logits is None or agreement.logits <= MAX_SIDE):
        raise HypercolumnsError(
            f"{path} was not written: what would have been does something else than the model (labels alike: "
            f"{agreement.labels:.2%}, logits differ by {agreement.logits} of their range); use the model itself"
        )
    return agreement


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings that say nothing of the model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        yield
