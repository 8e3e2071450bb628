"""Export a segmenter to an ONNX file, which runs without this package.

The file takes images (B, N, H, W), uint8 or float in [0, 1], with any B, H and W, and N the number of channels that the
model was trained on, usually 3. With the argument `size`, H and W are its two numbers. For every pixel of the images,
it outputs either labels, (B, H, W) uint8, or logits, (B, classes, H, W) float32. The file also contains the names and
the colours of the classes, as JSON texts. See docs/export.md.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import HypercolumnsError
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

OPSET = 20


def export_onnx(
    segmenter: Segmenter,
    path: str | Path,
    input: InputKind = "uint8",
    output: OutputKind = "labels",
    size: ImageSize | None = None,
) -> Agreement:
    """Write a segmenter to an ONNX file, and check that the file and the segmenter agree on images of noise.

    The file's input is called `images`. Its output is called `labels` or `logits`. The metadata entry `classes` holds
    the names of the classes and the entry `palette` holds their colours, both as JSON texts.

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
        HypercolumnsError: if a package of the extra `onnx` is missing, if the network can't be exported, if the file
            can't be written, or if the file does not agree with the segmenter, see `check_agreement`. After an error, a
            file that existed before is unchanged.
    """
    onnxruntime = _packages()
    program = make_program(segmenter, input, output, size)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": [output]}
    try:
        with torch.no_grad(), quiet():
            exported = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
    except Exception as error:  # torch raises many types of error, for example if ONNX lacks an operation
        reason = " ".join(str(error).split())[:200]
        raise HypercolumnsError(
            f"{segmenter.backbone.network} can't be written as ONNX ({reason}); try torch.export instead (export=torch)"
        ) from error
    assert exported is not None, "torch returns the program if it is not given a path"
    _tidy(exported.model, output, segmenter.backbone.input_channels, size)
    exported.model.metadata_props.update(metadata(segmenter))
    with atomic_write(Path(path)) as temporary:
        exported.save(temporary, external_data=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(temporary, settings, providers=["CPUExecutionProvider"])
        return check_agreement(
            segmenter,
            lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
            input,
            output,
            path,
            size,
        )


def _packages() -> Any:
    """Check that the packages onnx, onnxscript and onnxruntime are installed; return the module onnxruntime."""
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise HypercolumnsError(
            f"the export to ONNX needs {error.name}, which is not installed; run pip install 'hypercolumns[onnx]' or "
            f"uv sync --extra onnx, or export to torch.export instead (export=torch)"
        ) from error


def _tidy(model: Any, output: OutputKind, channels: int, size: ImageSize | None) -> None:
    """Name the variable sizes of an ONNX model `batch`, `height` and `width`, and remove its unused nodes.

    onnxruntime would warn about unused nodes when it loads the file.

    Args:
        model: the model, which changes in place.
        output: see `export_onnx`.
        channels: the number of channels of an image.
        size: see `export_onnx`.
    """
    sides = size or ("height", "width")
    ir, passes = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    classes = [] if output == "labels" else [model.graph.outputs[0].shape[1]]
    model.graph.inputs[0].shape = ir.Shape(["batch", channels, *sides])
    model.graph.outputs[0].shape = ir.Shape(["batch", *classes, *sides])
    passes.RemoveUnusedNodesPass()(model)
