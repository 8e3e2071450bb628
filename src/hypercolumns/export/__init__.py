"""Export a model to formats that run without this package: ONNX and torch.export."""

from hypercolumns.export._program import Agreement
from hypercolumns.export.onnx import export_onnx
from hypercolumns.export.torch_export import export_torch

__all__ = ["Agreement", "export_onnx", "export_torch"]
