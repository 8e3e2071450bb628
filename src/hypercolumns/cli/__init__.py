"""The command line of both entry points, `train.py` and `predict.py`."""
