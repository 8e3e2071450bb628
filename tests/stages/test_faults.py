"""Faults of the data, a disk or a machine: each ends in one line, and no finished work is lost."""

import errno
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_runs import RGB, damage, run
from PIL import Image

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.cli.messages import error_line
from hypercolumns.io.files import read_json
from hypercolumns.losses import CrossEntropy
from hypercolumns.settings.schema import taken
from hypercolumns.store import Shard, find_damage

SETTINGS = ["trainer.max_epochs=3", "val_images=0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
    return place


@pytest.fixture(autouse=True)
def in_place(place, monkeypatch):
    monkeypatch.chdir(place)


def spoil(monkeypatch, number, change):
    """Apply `change` to the `number`-th loss that is computed, counted from 1."""
    real, count = CrossEntropy.forward, 0

    def forward(self, logits, labels):
        nonlocal count
        count += 1
        loss = real(self, logits, labels)
        return change(loss) if count == number else loss

    monkeypatch.setattr(CrossEntropy, "forward", forward)


def last_checkpoints(stage):
    runs = Path(f"runs/shapes/rgb/{stage}").glob("*/checkpoints")
    return max(runs, key=lambda path: path.stat().st_mtime_ns)


def is_good(path):
    return all(tensor.isfinite().all() for tensor in Segmenter.load(path).state_dict().values())


@pytest.mark.parametrize(("seed", "value"), [(1, "nan"), (2, "inf")])
def test_non_finite_loss_stops_pretraining(monkeypatch, seed, value):
    spoil(monkeypatch, 4, lambda loss: loss * float(value))
    message = rf"the loss is {value} in epoch 2, step 1, on sample \d+, sample \d+.* and \d+ more; earlier checkpoints"
    with pytest.raises(HypercolumnsError, match=message):
        run("pretrain", *SETTINGS, f"seed={seed}", "batch_size=2048")
    assert is_good(last_checkpoints("pretrain") / "last.ckpt")


def test_non_finite_loss_names_the_images(monkeypatch):
    spoil(monkeypatch, 8, lambda loss: loss * float("nan"))
    message = r"epoch 2, step 3, on image train_000\d\d, .*; lower optimizer\.lr, set trainer\.gradient_clip_val=1"
    with pytest.raises(HypercolumnsError, match=message):
        run("train", "init_from=scratch", "trainer.max_epochs=2")
    assert is_good(last_checkpoints("train") / "last.ckpt")


class Spoilt(torch.autograd.Function):
    """A loss with gradients that are not finite."""

    @staticmethod
    def forward(context, loss):
        return loss.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("inf")


def test_non_finite_weights_reach_no_checkpoint(monkeypatch):
    """The last step of an epoch spoils the weights; the epoch's checkpoint is written before another loss shows it."""
    spoil(monkeypatch, 6, Spoilt.apply)
    with pytest.raises(
        HypercolumnsError, match=r"classifier\.\S+ contains NaN or infinite values in epoch 2, step 3, on sample \d+"
    ):
        run("pretrain", *SETTINGS, "seed=3", "batch_size=2048")
    checkpoints = {path.name: path for path in last_checkpoints("pretrain").iterdir()}
    assert checkpoints.keys() in ({"best.ckpt", "previous.ckpt"}, {"best.ckpt", "last.ckpt"})
    assert all(is_good(path) for path in checkpoints.values())


def test_full_disk_keeps_complete_shards(monkeypatch, tmp_path):
    import safetensors.torch

    save, written = safetensors.torch.save_file, []

    def full_disk(tensors, path, *arguments):
        if written:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(tensors, path, *arguments)
        written.append(path)

    settings = [f"samples={tmp_path / 'store'}"]
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full_disk)
        message = r"train-00001\.safetensors can't be written .*No space left.*run the same command again"
        with pytest.raises(HypercolumnsError, match=message):
            run("extract", *settings)
    first = Shard(tmp_path / "store", "train", 0)
    before = first.file.stat().st_mtime_ns
    assert not list(first.folder.glob(".*.tmp"))
    run("extract", *settings)
    assert first.file.stat().st_mtime_ns == before
    assert find_damage(first.folder) == []


@pytest.mark.parametrize("absent", ["train", "val"])
def test_class_missing_from_a_split_is_reported(tmp_path, capsys, absent):
    """The stages finish, print that the class is missing, and show n/a for metrics that have no pixels."""
    for split, number in (("train", 2), ("val", 1)):
        for index in range(number):
            mask = np.zeros((20, 20), np.uint8)
            mask[5:15, :10] = 1
            mask[5:15, 10:] = 1 if split == absent else 2
            name = f"{split}{index}"
            for folder, suffix, pixels in (("images", "jpg", np.stack([mask * 100] * 3, -1)), ("masks", "png", mask)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / folder / f"{name}.{suffix}")
            with (tmp_path / f"{split}.txt").open("a") as file:
                file.write(f"{name}\n")
    (tmp_path / "classes.txt").write_text("ground\ncat\n[red]dog[/]\n")
    paths = [f"data.{name}={tmp_path / name}" for name in ("images", "masks")]
    lists = [f"data.{name}={tmp_path / name}.txt" for name in ("classes", "train", "val")]
    base = [setting for setting in RGB if not setting.startswith("data")]
    settings = ["data=folder", *paths, *lists, "sampler.n=20", "trainer.max_epochs=1", "class_weights=balanced"]
    miou = [run(stage, base=[*base, *settings]) for stage in ("extract", "pretrain", "train")][-1]
    figures = read_json(next(Path("runs/folder/rgb/train").glob("*/metrics.json")))
    printed = capsys.readouterr().out
    if absent == "train":
        assert "no samples of [red]dog[/] in train: the model can't learn them" in printed
        assert figures["per_class_iou"]["[red]dog[/]"] is not None
    else:
        assert "no samples of [red]dog[/] in val: their metrics on the val samples are n/a" in printed
        predicted = figures["per_class_iou"]["[red]dog[/]"]
        assert predicted in (0, None)
        assert predicted == 0 or "n/a: [red]dog[/] (in no mask and in no prediction)" in printed
    assert 0 <= miou <= 1


def test_damaged_best_checkpoint_is_refused(capsys):
    settings = ["trainer.max_epochs=1", "val_images=0", "seed=4", "batch_size=2048"]
    run("pretrain", *settings)
    best = last_checkpoints("pretrain") / "best.ckpt"
    damage(best)
    (best.parents[1] / "model.safetensors").unlink()
    with pytest.raises(HypercolumnsError, match=r"best\.ckpt is damaged \(the contents of .*; add overwrite=true"):
        run("pretrain", *settings)
    assert run("pretrain", *settings, "overwrite=true") is None
    (best.parents[1] / "model.safetensors").unlink()
    torch.save({"epoch": 1}, best)
    with pytest.raises(HypercolumnsError, match=r"best\.ckpt is damaged \(it is not the checkpoint of a training\)"):
        run("pretrain", *settings)
    best.unlink()
    with pytest.raises(HypercolumnsError, match=r"best\.ckpt is missing; add overwrite=true to train again from"):
        run("pretrain", *settings)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("content", ["object", "others", "foreign"])
def test_foreign_last_checkpoint_is_refused(monkeypatch, content):
    """The checkpoint is refused in one line, and no code in it runs."""
    settings = ["trainer.max_epochs=2", "val_images=0", "seed=5", "batch_size=2048", "overwrite=true"]
    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("pretrain", *settings)
    last = (
        max(Path("runs/shapes/rgb/pretrain").glob("*/run.json"), key=os.path.getmtime).parent / "checkpoints/last.ckpt"
    )
    last.parent.mkdir(exist_ok=True)
    torch.save({"object": Hostile(), "others": {"weight": torch.ones(2)}, "foreign": {"state_dict": {}}}[content], last)
    with pytest.raises(
        HypercolumnsError, match=r"last\.ckpt is not a checkpoint of this training \(.*remove this file and run the"
    ):
        run("pretrain", *settings[:-1])
    assert not Path("executed").exists()


def test_empty_or_damaged_run_records(capsys):
    settings = ["trainer.max_epochs=1", "val_images=1", "seed=6", "batch_size=2048"]
    miou = run("pretrain", *settings)
    folder = last_checkpoints("pretrain").parent
    for content in ("{}", None):
        (folder / "metrics.json").write_text(content) if content else (folder / "metrics.json").unlink()
        assert run("pretrain", *settings) == miou
    for content in ("{}", '{"fingerprint": "x", "finished": null}', "[" * 100_000):
        (folder / "run.json").write_text(content)
        with pytest.raises(HypercolumnsError, match=r"run\.json .*remove this file and run the command again"):
            run("pretrain", *settings)
    (folder / "run.json").unlink()
    assert run("pretrain", *settings) == miou


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name\nx\n", b"epoch\nx\n"])
def test_invalid_metrics_csv_is_refused(monkeypatch, content):
    settings = ["trainer.max_epochs=1", "val_images=0", "seed=7", "batch_size=2048"]
    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("pretrain", *settings, "overwrite=true")
    record = max(Path("runs/shapes/rgb/pretrain").glob("*/run.json"), key=os.path.getmtime)
    record.with_name("metrics.csv").write_bytes(content)
    with pytest.raises(
        HypercolumnsError, match=r"metrics\.csv is not the table of a training's epochs \(.*\); remove it"
    ):
        run("pretrain", *settings)


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [40, 120])
def test_full_tmpfs_ends_in_one_line_and_resumes(tmp_path, kilobytes):
    """The command ends in one line wherever the disk fills; the files are readable; with more room it resumes."""

    def mount(*options):
        command = ["mount", *options, "tmpfs", str(tmp_path)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("nothing may be mounted here")

    settings = [f"runs={tmp_path}", "sampler.n=2", "trainer.max_epochs=2"]
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k")
    try:
        with pytest.raises((HypercolumnsError, OSError)) as raised:
            [run(stage, *taken(stage, settings)) for stage in ("extract", "pretrain", "train")]
        assert re.search(r"No space left", error_line(raised.value))
        assert not list(tmp_path.rglob(".*.tmp"))
        for path in tmp_path.rglob("*.ckpt"):
            assert is_good(path)
        mount("-o", "remount,size=20m")
        assert [run(stage, *taken(stage, settings)) for stage in ("extract", "pretrain", "train")][-1] > 0
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
