"""Export a model to formats that run without this package: ONNX and torch.export."""
