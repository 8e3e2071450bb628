"""Stage rank_taps on a tiny data set."""

import csv
import json
import shlex
from pathlib import Path

import pytest
import torch
from helpers.small_runs import RGB, config, run

from hypercolumns import HypercolumnsError
from hypercolumns.cli.paths import quote_paths
from hypercolumns.evaluation.tap_ranking import SubsetConstraints
from hypercolumns.models.backbones import Backbone
from hypercolumns.reports import ranking_tables
from hypercolumns.runs.run import Run
from hypercolumns.settings import compose
from hypercolumns.settings.model import backbone
from hypercolumns.settings.schema import taken
from hypercolumns.stages.rank_taps import LinearProbes, random_samples, subset_constraints
from hypercolumns.store import SampleStore

TAPS = "cnn.taps=[image,local_mean:3,coordinates]"
TITLE = "rgb: linear probes of its taps on the val samples of shapes"
SQN = [
    ["features.0"],
    ["features.3.expand1x1", "features.3.expand3x3"],
    ["local_mean:3"],
    ["pyramid:6"],
    ["coordinates"],
]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    place = tmp_path_factory.mktemp("extracted")
    data = ["data.train_images=12", f"data.root={place}"]
    run("extract", TAPS, *data, f"samples={place}/store", "sampler=uniform", "sampler.n=20")
    return [TAPS, *data, f"samples={place}/store"]


@pytest.fixture
def rank(extracted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: run("rank_taps", *extracted, *overrides)


def trials(place):
    return json.loads((place / "runs/shapes/rgb/rank_taps/latest/ranking.json").read_text())["trials"]


def test_every_subset_is_listed_best_first(rank, tmp_path):
    assert rank() is None  # the stage scores samples, not images
    rows = trials(tmp_path)
    tried = (
        [["image"]],
        [["image"], ["local_mean:3"]],
        [["image"], ["coordinates"]],
        [["image"], ["local_mean:3"], ["coordinates"]],
    )
    assert sorted(row["taps"] for row in rows) == sorted(tried)
    assert [row["miou"] for row in rows] == sorted((row["miou"] for row in rows), reverse=True)
    everything = next(row for row in rows if row["is_all"])
    assert (everything["channels"], everything["components"], everything["difference"]) == (8, 8, 0)
    assert [row["difference"] for row in rows] == [row["miou"] - everything["miou"] for row in rows]
    with next(tmp_path.glob("runs/shapes/rgb/rank_taps/latest/ranking.csv")).open() as file:
        table = list(csv.DictReader(file))
    assert [row["taps"] for row in table] == [ranking_tables.taps_value(row["taps"]) for row in rows]
    assert [float(row["miou"]) for row in table] == [row["miou"] for row in rows]
    figures = json.loads((tmp_path / "runs/shapes/rgb/rank_taps/latest/metrics.json").read_text())
    assert (figures["sample_miou"], figures["miou"], figures["taps"]) == (rows[0]["miou"], None, rows[0]["taps"])


def test_same_command_again_only_shows_the_table(rank, capsys, monkeypatch):
    rank()
    table = capsys.readouterr().out.partition(TITLE)[2]
    assert "+0.000" in table
    monkeypatch.setattr(LinearProbes, "score", None)
    rank()
    assert capsys.readouterr().out == TITLE + table
    with pytest.raises(TypeError):
        rank("overwrite=true")
    with pytest.raises(TypeError):  # the failed run is unfinished, so the stage scores again
        rank()


def test_other_settings_make_another_run(rank, tmp_path):
    for setting in ("seed=0", "seed=1", "rank.components=2"):
        rank(setting)
    assert {row["components"] for row in trials(tmp_path)} == {2}
    fingerprints = [Run(path.parent).fingerprint for path in tmp_path.glob("runs/shapes/rgb/rank_taps/*/run.json")]
    assert {(run["seed"], run["rank"]["components"]) for run in fingerprints} == {
        (0, 256),
        (1, 256),
        (0, 2),
    }
    assert all({"samples", "cnn", "data"} < fingerprint.keys() for fingerprint in fingerprints)


def test_probe_samples_are_seeded(extracted):
    split = SampleStore(Path(extracted[-1].removeprefix("samples="))).split("train")
    sample, again, other = (random_samples(split, 50, seed).features for seed in (0, 0, 1))
    assert len(sample) == 50
    assert sample.equal(again)
    assert not sample.equal(other)
    assert random_samples(split, 10**6, 0).features.equal(split.fetch(torch.arange(len(split))).features)


def test_constraints_follow_the_backbone():
    backbone = Backbone("rgb", ["image", "coordinates", "pyramid:2", "local_mean:3"])
    assert [tap.name for tap in backbone.taps] == ["image", "local_mean:3", "coordinates", "pyramid:2"]
    assert subset_constraints(backbone, 5, None) == SubsetConstraints(
        [3, 3, 2, 3], layers=1, from_deepest=[1, 3], max_taps=5, max_channels=None
    )


def test_limits_exclude_larger_subsets(rank, tmp_path):
    rank("rank.max_channels=6")
    rows = trials(tmp_path)
    assert [row["taps"] for row in rows if row["channels"] > 6] == [row["taps"] for row in rows if row["is_all"]]
    rank("rank.max_taps=1")
    assert [row["taps"] for row in trials(tmp_path) if not row["is_all"]] == [[["image"]]]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "rank.max_channels=2",
            "rank.max_channels=2 is too small: .* has 3 channels; set rank.max_channels to at least 3",
        ),
        ("rank.components=null", "rank.components=None must be a whole number of at least 1"),
        ("rank.max_taps=0", "rank.max_taps=0 must be a whole number of at least 1"),
        ("alignment=corners", "samples=.*store does not fit this command: alignment is"),
    ],
)
def test_wrong_settings_are_refused(rank, override, message):
    with pytest.raises(HypercolumnsError, match=message):
        rank(override)


def test_printed_command_uses_the_choice(rank, capsys, monkeypatch):
    monkeypatch.setattr(compose, "overrides", lambda: [*taken("rank_taps", RGB), TAPS, "stage=rank_taps", "samples=x"])
    rank("rank.max_taps=1")
    *_, choice, command = capsys.readouterr().out.splitlines()
    assert choice.split() == ["choice", "'cnn.taps=[image]'"]  # a shell would expand the brackets
    assert shlex.split(command) == [
        "command",
        "python",
        "train.py",
        "stage=all",
        *taken("rank_taps", RGB),
        "cnn.taps=[image]",
    ]


def test_choice_includes_separate_context_taps(rank, capsys):
    rank("cnn.taps=[image]", "cnn.context=[local_mean:3,coordinates]", "rank.max_taps=1")
    *_, choice, _ = capsys.readouterr().out.splitlines()
    assert choice.split() == ["choice", "'cnn.taps=[image]'", "'cnn.context=[]'"]


@pytest.mark.parametrize("taps", [SQN, SQN[:1], SQN[1:2]])
def test_printed_taps_parse_to_the_same_taps(taps, monkeypatch):
    """The override passes through the shell, Hydra and the backbone unchanged."""
    override = f"cnn.taps={ranking_tables.taps_value(taps)}"
    (pasted,) = quote_paths(shlex.split(shlex.quote(override)))
    network = backbone(config("train", "cnn=sqn_many", "cnn.weights=null", pasted))
    assert network.fingerprint()["taps"] == taps
