"""Checkpoints hold complete models and run no code when they are loaded."""

import pytest
import torch
from helpers.small_runs import run

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter

STAGES = ("pretrain", "train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
        for stage in STAGES:
            run(stage)
    return place / "runs/shapes/rgb"


@pytest.mark.parametrize("stage", STAGES)
def test_best_checkpoint_is_the_model(trained, stage):
    folder = trained / stage / "latest"
    model, checkpoint = Segmenter.load(folder), Segmenter.load(folder / "checkpoints" / "best.ckpt")
    image = torch.rand(3, 20, 30)
    assert torch.equal(*(SegmentationPredictor(each).logits(image) for each in (checkpoint, model)))
    assert checkpoint.header() == model.header()
    last = Segmenter.load(folder / "checkpoints" / "last.ckpt")
    assert last.classes == model.classes


class Executed:
    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was executed",))


@pytest.mark.parametrize("change", ["other", "code", "cut", "unknown"])
def test_foreign_checkpoints_are_refused(trained, tmp_path, change):
    source = trained / "train" / "latest" / "checkpoints" / "best.ckpt"
    checkpoint, path = torch.load(source, weights_only=True), tmp_path / "a.ckpt"
    match change:
        case "other":
            del checkpoint["hypercolumns"]
        case "code":
            checkpoint["hyper_parameters"] = {"model": Executed()}
        case "unknown":
            checkpoint["hypercolumns"]["header"] = '{"format": 7}'
    torch.save(checkpoint, path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    message = "can't be read as a model" + (r" \(the header is not of format 2" if change == "unknown" else "")
    with pytest.raises(HypercolumnsError, match=rf"a\.ckpt {message}"):
        Segmenter.load(path)
