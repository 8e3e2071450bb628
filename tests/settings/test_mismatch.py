"""The words in which messages say how data, weights and models differ."""

import pytest
from helpers.small_runs import RGB, config
from omegaconf import OmegaConf

from hypercolumns.io.files import file_hash
from hypercolumns.settings.mismatch import in_words, is_about_data

DATA = {"data.train": "data.train is 12, this command has 34"}
WEIGHTS = {"cnn.weights": "cnn.weights is 12, this command has 34"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a store, whose config is the same as that of the commands without overrides."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "store"
    place.mkdir()
    OmegaConf.save(command(), place / "config.yaml", resolve=True)
    return place


def command(*overrides):
    return config("train", *RGB, "stage=train", *overrides)


def test_other_images_name_settings_and_counts(folder):
    counts = {"data.images.train": "data.images.train is 40, this command has 41"}
    texts = in_words(command("data.train_images=41", "data.overlap=allow"), folder, DATA | counts)
    assert texts == [
        "the train images or masks are others (40, this command has 41): data.train_images is 40, this command has 41"
    ]
    assert is_about_data(DATA)
    assert not is_about_data(WEIGHTS)


def test_changed_files_of_same_settings_say_so(folder):
    (text,) = in_words(command(), folder, DATA)
    assert text == (
        "the train images or masks are others (their number is the same): the settings are the same, so "
        "files of data (data) have changed since, or lie in another folder"
    )
    (folder / "config.yaml").write_text("[")
    assert in_words(command(), folder, DATA)[0].endswith("): there is no config.yaml that says how they were chosen")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=1", "random weights of the CNN (cnn.weights=null) are others: seed is 0, this command has 1"),
        ("cnn.seed=1", "random weights of the CNN (cnn.weights=null) are others: cnn.seed is 0, this command has 1"),
        ("cnn.weights=w.pth", 'weights of the CNN are others: cnn.weights is null, this command has "w.pth"'),
        ("init_from=m", 'weights of the CNN are others: init_from is null, this command has "m"'),
    ],
)
def test_other_weights_name_seed_or_files(folder, override, words):
    changes = WEIGHTS | {"ema": "ema is 1, this command has 2"}
    if override == "seed=1":
        changes |= {"seed": "seed is 0, this command has 1"}  # the weights say it already
    assert in_words(command(override), folder, changes) == [f"the {words}", "ema is 1, this command has 2"]


def test_changed_weights_name_their_file(folder):
    OmegaConf.save(command("cnn.weights=w.pth"), folder / "config.yaml", resolve=True)
    (text,) = in_words(command("cnn.weights=w.pth"), folder, WEIGHTS)
    assert "the settings are the same, so the weights (w.pth) have changed since" in text


def test_hashes_of_models_become_paths(folder, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_text("x")
    text = f"init_from: that run started from model {file_hash(model)[:16]}, this command from model {'0' * 16}"
    (words,) = in_words(command(f"init_from={model}"), folder, {"init_from": text})
    assert words == (
        f"init_from: that run started from model {model}, this command from model (a file that is gone or has changed)"
    )
