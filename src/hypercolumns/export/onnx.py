"""Export a segmenter to an ONNX file, which runs without this package.

The file takes images (B, 3, H, W), uint8 or float in [0, 1], for any B, H and W, and outputs labels (B, H, W) uint8 or
logits (B, classes, H, W) float32 for the pixels of the original images. The names and colours of the classes are stored
in it as JSON. See docs/export.md.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

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
    segmenter: Segmenter, path: str | Path, input: InputKind = "uint8", output: OutputKind = "labels"
) -> Agreement:
    """Write an ONNX file, and check it against the segmenter.

    The input of the model is called `images`, its output `labels` or `logits`. The metadata entries `classes` and
    `palette` are JSON.

    Args:
        segmenter: the model.
        path: the file to write; an existing file is replaced.
        input: the type of images that the file takes, "uint8" or "float" in [0, 1].
        output: what the file outputs, "labels" or "logits".

    Returns:
        How well the file agrees with the segmenter.

    Raises:
        ArgumentError: for an unknown `input` or `output`.
        HypercolumnsError: if the optional packages are missing, the network can't be exported, the file can't be
            written, or it does not agree with the segmenter. Nothing is written then.
    """
    onnxruntime = _packages()
    program = make_program(segmenter, input, output)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": [output]}
    try:
        with torch.no_grad(), quiet():
            exported = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
    except Exception as error:  # raised for operations that ONNX lacks
        reason = " ".join(str(error).split())[:200]
        raise HypercolumnsError(
            f"{segmenter.backbone.network} can't be written as ONNX ({reason}); try torch.export"
        ) from error
    assert exported is not None, "torch returns the program if it is not given a path"
    _tidy(exported.model, output)
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
        )


def _packages() -> Any:
    """Import onnxruntime; raises HypercolumnsError if a package that the export needs is missing."""
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise HypercolumnsError(
            f"the export to ONNX needs {error.name}, which is not installed; run pip install 'hypercolumns[onnx]' or "
            f"uv sync --extra onnx (the export to torch.export needs no further package)"
        ) from error


def _tidy(model: Any, output: OutputKind) -> None:
    """Name the symbolic sizes, and remove unused nodes: onnxruntime warns about them when it loads the file."""
    ir, passes = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    classes = [] if output == "labels" else [model.graph.outputs[0].shape[1]]
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "height", "width"])
    model.graph.outputs[0].shape = ir.Shape(["batch", *classes, "height", "width"])
    passes.RemoveUnusedNodesPass()(model)
