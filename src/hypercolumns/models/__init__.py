"""The model: backbones, hypercolumns and classifiers, as plain PyTorch."""
