"""What `import hypercolumns` offers: names that exist, examples that run, and nothing that only training needs."""

import doctest
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import hypercolumns

HEAVY = ("hydra", "matplotlib", "omegaconf", "pytorch_lightning", "tensorboard", "timm", "torchmetrics", "torchvision")
CLASSES = [name for name in hypercolumns.__all__ if name != "__version__"]


def test_public_names_are_those_of_the_table():
    assert sorted([*hypercolumns.MODULES, "__version__"]) == hypercolumns.__all__
    assert set(hypercolumns.__all__) <= set(dir(hypercolumns))
    assert all(inspect.isclass(getattr(hypercolumns, name)) for name in CLASSES)
    assert hypercolumns.__version__.count(".") == 2


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'hypercolumns' has no attribute 'Segmentor'"):
        hypercolumns.Segmentor  # noqa: B018


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_an_example_that_runs(name, segmenter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segmenter.save("model.safetensors")
    Image.fromarray(np.full((30, 44, 3), 90, np.uint8)).save("street.jpg")
    names = {one: getattr(hypercolumns, one) for one in CLASSES} | {"torch": torch, "np": np, "Image": Image}
    (example,) = doctest.DocTestFinder(recurse=False).find(names[name], name, globs=names)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import hypercolumns", ("torch", "numpy", "PIL", *HEAVY)),
        ("import hypercolumns; [getattr(hypercolumns, name) for name in hypercolumns.__all__]", HEAVY),
    ],
    ids=["the package", "every public name"],
)
def test_nothing_is_imported_that_is_not_needed(code, heavy):
    command = f"import sys; {code}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
