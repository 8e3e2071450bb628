"""`import hypercolumns`: the names exist, their examples run, and only `train` imports the training libraries."""

import doctest
import inspect
import subprocess
import sys

import pytest

import hypercolumns

HEAVY = ("hydra", "matplotlib", "omegaconf", "pytorch_lightning", "tensorboard", "timm", "torchmetrics", "torchvision")
OF_TRAINING = ("TrainedRun", "train")  # the names that load the training libraries
CLASSES = [name for name in hypercolumns.__all__ if name not in ("__version__", *OF_TRAINING)]


def test_public_names_match_module_table():
    assert {*hypercolumns.MODULES, "__version__"} == set(hypercolumns.__all__)
    assert set(hypercolumns.__all__) <= set(dir(hypercolumns))
    assert all(inspect.isclass(getattr(hypercolumns, name)) for name in CLASSES)
    assert hypercolumns.__version__.count(".") == 2


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="module 'hypercolumns' has no attribute 'Segmentor'"):
        hypercolumns.Segmentor  # noqa: B018


@pytest.mark.parametrize("name", [*CLASSES, "train"])
def test_every_class_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(hypercolumns, name), name, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import hypercolumns", ("torch", "numpy", "PIL", *HEAVY)),
        (f"import hypercolumns; [getattr(hypercolumns, name) for name in {CLASSES}]", HEAVY),
    ],
    ids=["the package", "every class but TrainedRun"],
)
def test_import_loads_no_training_libraries(code, heavy):
    command = f"import sys; {code}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
