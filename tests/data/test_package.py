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


IMPORTS = f"""
import importlib, sys
for module in ("data", "data.groups", "data.datasets", "evaluation"):
    importlib.import_module(f"hypercolumns.{{module}}")
    print(module, *sorted(set({LIGHTNING!r}) & set(sys.modules)))
"""


def test_imports_do_not_load_lightning():
    result = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["data", "data.groups", "data.datasets", "evaluation"]
