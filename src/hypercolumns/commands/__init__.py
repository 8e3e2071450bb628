"""The programs: what `train.py` and `predict.py` run, and the command `hypercolumns` that pip installs."""
