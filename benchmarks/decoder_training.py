"""One training of `decoders.py`, in a process of its own: train until the time is over, then score.

The process takes a `Training` as JSON and prints a `Trained` as the last line of its output.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from common import CONF, ROOT, medians
from decoder_clock import Clock, Network, train_by_clock
from decoder_peers import make_peer
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from hypercolumns.cli.paths import quote_paths
from hypercolumns.data import DatasetIndex
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import randomness
from hypercolumns.runtime.memory import keep_freed_memory
from hypercolumns.settings import data, model, training
from hypercolumns.settings.inference import configure_inference, quiet_libraries
from hypercolumns.settings.start import named_start, start_from

OURS = ("frozen", "complete", "finetune")  # recipes of conf/experiment; the last two start from a model of `frozen`
TIMED = 5  # predictions of one image whose median is reported


@dataclass(frozen=True)
class Setup:
    """What is searched for a peer: the learning rate, and the number of images in a step."""

    rate: float
    batch_size: int


@dataclass(frozen=True)
class Training:
    """What to train, how long, and on which images.

    Attributes:
        contender: a name in `OURS` or a key of `decoder_peers.DECODERS`.
        seconds: the time from `started` to the end of the training; ignored for `frozen`, which has epochs.
        cpu: whether times are those that the CPU spends on the process, in place of wall times.
        started: when the process was started, in seconds since the epoch. Python's start counts.
        seed: the seed of the training.
        setup: the learning rate and the number of images in a step; None: those of the recipe.
        settings: arguments of train.py that choose the data, and the split to score as the val split.
        train_settings: further arguments of stage train.
        weights: the weights of SqueezeNet, the value of `cnn.weights`; None: random weights.
        start: the model.safetensors that `complete` and `finetune` start from; None for the others.
        folder: an empty folder for all that is written.
    """

    contender: str
    seconds: float
    cpu: bool
    started: float
    seed: int
    setup: Setup | None
    settings: list[str]
    train_settings: list[str]
    weights: str | None
    start: str | None
    folder: str


@dataclass(frozen=True)
class Trained:
    """What a training took, and how the network scores.

    Attributes:
        seconds: the time of the training, without the scoring.
        steps: the number of steps of the optimizer; 0 for `frozen`, whose classifier is trained on samples.
        images: the number of images of all steps; 0 for `frozen`.
        peak: the largest memory of the process that trained, in bytes.
        parameters: the number of parameters of the network.
        trained: how many of them were trained.
        milliseconds: the time in which the network labels one image of the scored split.
        miou: the mIoU over all pixels of the scored split.
        boundary_miou: the mIoU over the pixels near boundaries.
        model: the model.safetensors of a run of `frozen`; None for the others.
    """

    seconds: float
    steps: int
    images: int
    peak: int
    parameters: int
    trained: int
    milliseconds: float
    miou: float
    boundary_miou: float
    model: str | None


class Labels(nn.Module):
    """Predict class indices (B, H, W) uint8 of images (B, 3, H, W)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Predict the class indices of images."""
        return self.network.labels(images)


def compose_config(wanted: Training) -> DictConfig:
    """Compose the config of stage train: for a peer, that of experiment=finetune, on all pixels."""
    ours = wanted.contender in OURS
    own = [] if ours else ["pixels=all"]
    if wanted.setup is not None:
        own += [f"optimizer.lr={wanted.setup.rate}", f"batch_size={wanted.setup.batch_size}"]
    if wanted.start is not None:
        own.append(f"init_from={wanted.start}")
    recipe = wanted.contender if ours else "finetune"
    return compose_stage(f"experiment={recipe}", "stage=train", *own, *wanted.train_settings, *common_settings(wanted))


def compose_stage(*settings: str) -> DictConfig:
    """Compose the config of a command of train.py."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", quote_paths(settings))


def common_settings(wanted: Training) -> list[str]:
    """Return the arguments that all stages take."""
    return [*wanted.settings, f"runs={wanted.folder}", f"seed={wanted.seed}", "num_workers=0", "logger=null"]


def run_frozen(wanted: Training) -> tuple[Path, float]:
    """Run the stages of experiment=frozen before refine, and return the path of the model and the time in seconds.

    The last epoch counts, not the best one on val samples: no contender may see the split that is scored.
    """
    weights = "null" if wanted.weights is None else wanted.weights
    own = ["experiment=frozen", f"cnn.weights={weights}", "val_images=0", "embedding=0", "second_pass=false"]
    epochs = compose_stage("experiment=frozen", "stage=pretrain").trainer.max_epochs
    own.append(f"trainer.check_val_every_n_epoch={epochs}")
    now = child_time if wanted.cpu else time.time
    started = now()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *own, *common_settings(wanted)], check=True)
    seconds = now() - started
    (found,) = Path(wanted.folder).glob("*/*/pretrain/latest/model.safetensors")
    shutil.rmtree(found.parents[2] / "samples")  # most of a GB on CamVid
    return found.resolve(), seconds


def child_time() -> float:
    """Return the time that the CPU spent on processes that this one started and that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build_network(wanted: Training, cfg: DictConfig, images: DatasetIndex) -> Network:
    """Build the network to train; one of ours starts from a model, as in stage train."""
    if wanted.contender not in OURS:
        with randomness.seeded(wanted.seed, "decoder"):
            return make_peer(wanted.contender, wanted.weights, images.classes, images.palette)
    named = named_start(cfg)
    assert named is not None, f"{wanted.contender} needs a model of frozen"
    backbone = model.backbone(cfg, named, images.decoding)
    classifier = start_from(cfg, named, backbone, images).classifier(cfg)
    segmenter = model.segmenter(cfg, backbone, classifier, images)
    configure_inference(segmenter, cfg)
    return segmenter


def run(wanted: Training) -> Trained:
    """Train, write the confusion matrices of the scored images to `evaluation.npz`, and return the measurements."""
    steps, found, cfg = 0, None, compose_config(wanted)
    quiet_libraries()
    if wanted.contender == "frozen":
        (found, seconds), who = run_frozen(wanted), resource.RUSAGE_CHILDREN
        images = data.image_index(cfg)
        network: Network = Segmenter.load(found)
        trained = sum(each.numel() for each in network.classifier.parameters())
    else:
        now, started = (time.process_time, 0.0) if wanted.cpu else (time.time, wanted.started)
        clock, who = Clock(started + wanted.seconds, now), resource.RUSAGE_SELF
        images = data.image_index(cfg)
        network = build_network(wanted, cfg, images)
        steps = train_by_clock(network, cfg, images, clock)
        seconds = now() - started
        trained = sum(each.numel() for each in network.parameters() if each.requires_grad)
    peak = resource.getrusage(who).ru_maxrss * 1024
    labels = Labels(network.eval())
    scored = ImageDataset(images.splits["val"], images.scheme, decoding=images.decoding)
    evaluation = training.scorer(cfg).score(labels, scored, images.classes)
    evaluation.save(Path(wanted.folder) / "evaluation.npz")
    figures = evaluation.figures()
    return Trained(
        seconds=seconds,
        steps=steps,
        images=steps * cfg.batch_size * cfg.trainer.accumulate_grad_batches,
        peak=peak,
        parameters=sum(each.numel() for each in network.parameters()),
        trained=trained,
        milliseconds=medians({"labels": partial(labels, scored[0].image[None])}, TIMED)["labels"] * 1000,
        miou=figures["miou"],
        boundary_miou=figures["boundary_miou"],
        model=None if found is None else str(found),
    )


def start(wanted: Training, threads: int, log: Path) -> Trained:
    """Run a training in a new process, and return what it measured.

    Args:
        wanted: the training; its folder is emptied.
        threads: the number of OpenMP threads.
        log: the file for the output of the process.

    Returns:
        The measurements.

    Raises:
        RuntimeError: if the process failed; the message names the log.
    """
    shutil.rmtree(wanted.folder, ignore_errors=True)
    Path(wanted.folder).mkdir(parents=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with log.open("w") as output:
        code = subprocess.run(
            [sys.executable, __file__, json.dumps(asdict(wanted))], stdout=output, stderr=output, env=environment
        ).returncode
    if code != 0:
        raise RuntimeError(f"the training ended with the exit code {code}; its output is in {log}")
    return Trained(**json.loads(log.read_text().splitlines()[-1]))


def main() -> None:
    """Run the training that the command line describes."""
    assert keep_freed_memory(), "this system has no glibc"
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    given = json.loads(sys.argv[1])
    setup = given.pop("setup")
    wanted = Training(**given, setup=None if setup is None else Setup(**setup))
    print(json.dumps(asdict(run(wanted))))


if __name__ == "__main__":
    main()
