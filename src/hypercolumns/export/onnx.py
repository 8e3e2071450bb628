"""Files of ONNX, which run without this package.

They take images (B, 3, H, W) of any number and size, uint8 or float in [0, 1], and give labels (B, H, W) uint8 or
logits (B, classes, H, W) float32, of the pixels of the images as they came. The names of the classes and their colours
go with them, as JSON. See docs/serving.md.
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
    """Write an ONNX file, and check what was written against the segmenter.

    Its input is `images`, its output `labels` or `logits`; its metadata `classes` and `palette` are JSON.

    Args:
        segmenter: the model.
        path: of the file; where there is one, it is replaced.
        input: the type of images that it takes, "uint8" or "float" in [0, 1].
        output: what it gives, "labels" or "logits".

    Returns:
        How it agrees with the segmenter.

    Raises:
        HypercolumnsError: for a network that can't be exported, a file that can't be written, and one that does
            something else than the segmenter, and if the packages for it are missing; then there is no file.
    """
    onnxruntime = _packages()
    program = make_program(segmenter, input, output)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": [output]}
    try:
        with torch.no_grad(), quiet():
            made = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
    except Exception as error:  # of operations that ONNX does not have
        reason = " ".join(str(error).split())[:200]
        raise HypercolumnsError(
            f"{segmenter.backbone.network} can't be written as ONNX ({reason}); try torch.export"
        ) from error
    assert made is not None, "it is not given a file to write to"
    _tidy(made.model, output)
    made.model.metadata_props.update(metadata(segmenter))
    with atomic_write(Path(path)) as temporary:
        made.save(temporary, external_data=False)
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
    """The runtime; raises HypercolumnsError unless all is there that ONNX needs."""
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise HypercolumnsError(
            f"ONNX needs {error.name}, which is not installed; pip install 'hypercolumns[onnx]', or uv sync --extra "
            f"onnx (torch.export needs nothing more)"
        ) from error


def _tidy(model: Any, output: OutputKind) -> None:
    """Call the sizes by their names, and drop what nothing uses, of which the runtime would tell whoever loads it."""
    ir, passes = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    classes = [] if output == "labels" else [model.graph.outputs[0].shape[1]]
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "height", "width"])
    model.graph.outputs[0].shape = ir.Shape(["batch", *classes, "height", "width"])
    passes.RemoveUnusedNodesPass()(model)
