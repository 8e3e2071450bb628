"""The public names of `hypercolumns.data`, and the modules that importing it loads."""

import importlib
import subprocess
import sys

import pytest

from hypercolumns import data

LIGHTNING = ("lightning_fabric", "pytorch_lightning", "torchmetrics")


def test_public_names_come_from_their_modules():
    assert data.__all__ == sorted(data.MODULES)
    assert set(data.__all__) <= set(dir(data))
    for name, module in data.MODULES.items():
        assert getattr(data, name) is getattr(importlib.import_module(module), name)


def test_other_name_raises_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'hypercolumns\.data' has no attribute 'ImageDataset'"):
        data.ImageDataset  # noqa: B018


@pytest.mark.parametrize("module", ["data", "data.groups", "data.datasets", "evaluation"])
def test_import_does_not_load_lightning(module):
    command = f"import sys, hypercolumns.{module}; print(*sorted(set({LIGHTNING!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
