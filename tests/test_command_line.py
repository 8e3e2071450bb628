import subprocess
import sys

import pytest
from conftest import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser

from hypercolumns.command_line import as_line, quote_paths
from hypercolumns.errors import HypercolumnsError

NAMES = [
    "plain.jpg",
    "~/with space",
    "a=b,c&d.png",
    "[brackets] {braces}",
    "quote's",
    'double "quotes"',
    "back\\slash",
    "ends in \\",
    "both\\'",
    "${interpolation}",
    "%odd#!:@",
    "ünïcode",
    " leading",
    "null.jpg",
]


def parse(argument):
    override = OverridesParser.create().parse_overrides([argument])[0]
    return override.key_or_group, override.value()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["images", "data.root", "cnn.weights"])
def test_any_file_name_can_be_typed(name, key):
    from omegaconf import OmegaConf

    parsed_key, value = parse(quote_paths([f"{key}={name}"])[0])
    assert parsed_key == key
    config = OmegaConf.create({})
    OmegaConf.update(config, "x", str(value))
    assert config.x == name


@pytest.mark.parametrize(
    "argument", ["cnn.weights=null", "images='a b'", 'images="a b"', "images=[a,b]", "seed=1", "-m"]
)
def test_the_rest_is_left_to_hydra(argument):
    assert quote_paths([argument]) == [argument]


def test_sweeps_over_paths_are_left_to_hydra_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", "cnn.weights=a.pth,b.pth"]
    assert quote_paths(arguments) == arguments
    (tmp_path / "a.pth,b.pth").touch()
    assert quote_paths(arguments) == ["-m", "cnn.weights='a.pth,b.pth'"]


def test_a_bug_is_no_line():
    assert as_line(KeyError("x")) is None
    assert as_line(HypercolumnsError("wrong")) == "wrong"


def test_a_fault_from_a_worker_is_its_last_line():
    message = (
        "Caught HypercolumnsError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "  File x\nhypercolumns.errors.HypercolumnsError: a.jpg is bad\n"
    )
    assert as_line(HypercolumnsError(message)) == "a.jpg is bad"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cnn=squeeze"], "error: cnn=squeeze is not known; did you mean squeezenet1_1? choose one of convnext_tiny, "),
        (["cnn=timm", "data=shapes"], "error: cnn.model is missing: give cnn.model=..."),
        (["stage=eat"], "error: stage=eat is not known; choose one of all, compare, evaluate, extract,"),
        (
            ["optimiser.lr=1"],
            "error: optimiser is not a setting; did you mean optimizer? the settings of this",
        ),
        (
            ["data=shapes", "data.train_images=many"],
            "error: data.train_images=many must be a whole number of at least 1",
        ),
        (["data=folder", "data.val_share=x", "data.images=."], "error: data=folder needs data.images=<folder>"),
        (["data=shapes", "data.root=/dev/null"], "error: /dev/null/shapes"),
        (
            ["optimizer.lrr=1"],
            "error: optimizer.lrr is not a setting; did you mean optimizer.lr? the settings of optimizer are",
        ),
    ],
)
def test_misspelt_settings_are_one_line_and_exit_code_2(run_script, arguments, line, tmp_path):
    result = run_script("train.py", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_data_says_where_it_looked(run_script, tmp_path):
    result = run_script("train.py", "cnn.weights=null", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "looked for the folder data/VOCdevkit/VOC2012" in result.stderr
    assert "data.download=true" in result.stderr
    assert "data=shapes" in result.stderr


@pytest.mark.parametrize(
    ("script", "words"), [("train.py", "stage: all, compare, evaluate, extract"), ("predict.py", "predict.py model=")]
)
def test_help_is_useful(run_script, script, words, tmp_path):
    result = run_script(script, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert words in result.stdout
    assert not list(tmp_path.iterdir())


def test_predict_without_a_model(tmp_path):
    """In a process of its own, as people run it."""
    command = [sys.executable, str(ROOT / "predict.py"), "images=x.jpg"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: model is missing: give model=...\n"
