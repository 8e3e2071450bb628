r"""Decoders that practitioners pick against hypercolumns: same weights, images, augmentation and wall time, on CPUs.

python benchmarks/decoders.py --out DIR --weights FILE --settings data=voc data.root=DIR data.classes=FILE \
    --group-pattern '^(\w{6})' --groups 0001TP 0006R0 0016E5 --minutes 3 20 60

Each group of train images is left out once: a network that was trained on the others is scored on it. The fold `val`
trains on all train images and is scored on the val split. Every training runs in a process of its own. Its time begins
with the process and ends with the last step, and the schedule follows the clock. With --cpu-time, the time is that of
the CPU, so that other work on the machine does not shorten the trainings.

Peers: the decoders of U-Net, FPN and DeepLabV3+ (segmentation-models-pytorch), LR-ASPP (torchvision), and a linear
layer on the deepest map of the frozen network. They are trained with the settings of experiment=finetune, on all
pixels, at the best of all pairs of --rates and --batch-sizes. Each pair is tried for the whole time, or for a part of
it, on each left-out group with the first seed. A fold takes the pair with the best mean mIoU on the groups that it is
not scored on. The val split chooses nothing.

Ours: experiment=frozen, and experiment=complete and finetune from it, at the rates of the recipes. The time of `frozen`
counts for all three. `frozen` has epochs and no clock, so that its row is the same for all times.

The images of a step must have one size; for others, crop them by --train-settings augment.crop=256.

The results are appended to results.jsonl in --out, a line for each training. The same command with --resume goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import processor, report
from decoder_peers import DECODERS, MIN_BATCH
from decoder_report import VAL, Final, complete, differences, summary
from decoder_training import OURS, Setup, Trained, Training, start

# Options that the measurements depend on; --resume refuses others.
DECIDING = ("settings", "train_settings", "weights", "group_pattern", "threads", "cpu_time")


@dataclass(frozen=True)
class Job:
    """A training to measure.

    Attributes:
        contender: the name of the decoder or recipe.
        minutes: the length of the training; 0 for `frozen`, which has epochs.
        fold: the left-out group, or `VAL`.
        seed: the seed.
        setup: the learning rate and the number of images in a step; None: those of the recipe.
    """

    contender: str
    minutes: float
    fold: str
    seed: int
    setup: Setup | None

    @property
    def name(self) -> str:
        """A name for the files of this training."""
        setup = "" if self.setup is None else f"-lr{self.setup.rate:g}-batch{self.setup.batch_size}"
        return f"{self.contender}-{self.minutes:g}min-{self.fold}-seed{self.seed}{setup}"


class Bench:
    """Measure trainings that results.jsonl does not have yet, and remember the others.

    Args:
        options: the options of the command line.
        out: the folder of all files.

    Raises:
        SystemExit: if results.jsonl exists without --resume, or was measured with other options.
    """

    def __init__(self, options: argparse.Namespace, out: Path) -> None:
        self.options, self.out, self.file = options, out, out / "results.jsonl"
        self.given = {name: getattr(options, name) for name in DECIDING}
        self.measured: dict[Job, Trained] = {}
        if self.file.exists() and not options.resume:
            sys.exit(f"error: {self.file} exists; add --resume to go on, or give another folder by --out")
        for line in self.file.read_text().splitlines() if self.file.exists() else ():
            row = json.loads(line)
            other = [name for name in DECIDING if row["options"][name] != self.given[name]]
            if other:
                named = ", ".join(f"--{name.replace('_', '-')}" for name in other)
                sys.exit(f"error: {self.file} was measured with another {named}; give it as before, or another --out")
            setup = row["job"].pop("setup")
            job = Job(**row["job"], setup=None if setup is None else Setup(**setup))
            self.measured[job] = Trained(**row["trained"])

    def evaluation(self, job: Job) -> Path:
        """Return the file of the confusion matrices of a training."""
        return self.out / "trainings" / job.name / "evaluation.npz"

    def measure(self, job: Job) -> Trained | None:
        """Return what a training measured, and run it first if need be; None if `frozen` leaves no time for it."""
        if job in self.measured:
            return self.measured[job]
        first = None
        if job.contender in OURS and job.minutes:
            first = self.measure(Job("frozen", 0, job.fold, job.seed, None))
            assert first is not None
            if first.seconds >= job.minutes * 60:
                print(f"{job.name}: left out, because frozen took {first.seconds:.0f} s")
                return None
        print(f"{job.name} ...", flush=True)
        trained = start(self._training(job, first), self.options.threads, self.out / "logs" / f"{job.name}.txt")
        if first is not None:
            total, peak = trained.seconds + first.seconds, max(trained.peak, first.peak)
            trained = replace(trained, seconds=total, peak=peak)
        print(f"{job.name}: mIoU {trained.miou:.4f} in {trained.seconds:.0f} s", flush=True)
        row: dict[str, Any] = {
            "job": asdict(job),
            "trained": asdict(trained),
            "options": self.given,
            "command": sys.argv,
        }
        row |= {"ended": time.time(), "torch": torch.__version__, "machine": processor()}
        with self.file.open("a") as file:
            file.write(f"{json.dumps(row)}\n")
        self.measured[job] = trained
        return trained

    def _training(self, job: Job, first: Trained | None) -> Training:
        """Describe a job to its process; `first` is the run of `frozen` that it starts from."""
        left_out = [f"data.group_pattern={self.options.group_pattern}", f"data.val_group={job.fold}"]
        return Training(
            contender=job.contender,
            seconds=job.minutes * 60 - (first.seconds if first else 0),
            cpu=self.options.cpu_time,
            started=time.time(),
            seed=job.seed,
            setup=job.setup,
            settings=[*self.options.settings, *([] if job.fold == VAL else left_out)],
            train_settings=self.options.train_settings,
            weights=self.options.weights,
            start=first.model if first else None,
            folder=str(self.out / "trainings" / job.name),
        )

    def best_setup(self, contender: str, minutes: float, fold: str) -> Setup | None:
        """Return the setup with the best mean mIoU on the left-out groups other than `fold`, after trying all."""
        if contender in OURS:
            return None
        setups = candidates(contender, self.options)
        if len(setups) == 1:
            return setups[0]
        groups = [group for group in self.options.groups if group != fold]
        part, seed = minutes / self.options.search_part, self.options.seeds[0]

        def score(setup: Setup) -> float:
            tried = [self.measure(Job(contender, part, group, seed, setup)) for group in groups]
            return mean(trained.miou for trained in tried if trained is not None)

        return max(setups, key=score)

    def finals(self, minutes: float) -> Iterator[Final]:
        """Run and yield all trainings of one length."""
        folds = [*self.options.groups, *([] if self.options.skip_val else [VAL])]
        for contender in self.options.only:
            for fold in folds:
                setup = self.best_setup(contender, minutes, fold)
                for seed in self.options.seeds:
                    job = Job(contender, 0 if contender == "frozen" else minutes, fold, seed, setup)
                    trained = self.measure(job)
                    if trained is not None and trained.seconds > minutes * 60 and contender == "frozen":
                        print(f"{job.name}: left out, because it took {trained.seconds:.0f} s")
                    elif trained is not None:
                        yield Final(contender, fold, seed, setup, trained, self.evaluation(job))


def candidates(contender: str, options: argparse.Namespace) -> list[Setup]:
    """Return the setups to try for a peer; a size of a batch that is too small for it is raised."""
    sizes = dict.fromkeys(max(size, MIN_BATCH.get(contender, 1)) for size in options.batch_sizes)
    return [Setup(rate, size) for rate in options.rates for size in sizes]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    contenders = [*OURS, *DECODERS]
    parser.add_argument("--out", type=Path, required=True, help="folder of all files")
    parser.add_argument("--resume", action="store_true", help="keep the results in --out, and measure what is missing")
    parser.add_argument("--settings", nargs="+", required=True, help="arguments of train.py that choose the data")
    parser.add_argument("--train-settings", nargs="+", default=[], help="arguments of stage train, for all but frozen")
    parser.add_argument("--weights", help="weights of SqueezeNet, as for cnn.weights; without it: random weights")
    parser.add_argument("--group-pattern", required=True, help="regular expression that finds an id's group")
    parser.add_argument("--groups", nargs="+", required=True, help="groups to leave out")
    parser.add_argument("--skip-val", action="store_true", help="leave out the fold val")
    parser.add_argument("--minutes", type=float, nargs="+", default=[3.0, 20.0, 60.0], help="lengths of trainings")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="learning rates of peers")
    parser.add_argument("--search-part", type=float, default=1.0, help="6: tries last a sixth of the time")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4], help="images in a step of a peer")
    parser.add_argument("--only", nargs="+", choices=contenders, default=contenders, metavar="CONTENDER")
    parser.add_argument("--bootstrap-pattern", help="regular expression of images to draw together; default: single")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, for a machine with other work")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the tables as JSON, FILE.<minutes>.json")
    options = parser.parse_args(arguments)
    if options.cpu_time and options.threads > 1:
        parser.error("--cpu-time needs --threads 1, because threads that wait for others use the CPU, too")
    if len(options.groups) < 2 and len(options.rates) * len(options.batch_sizes) > 1:
        parser.error("--groups must name at least two groups, because a fold takes its setup from the other groups")
    return options


def main() -> None:
    """Run what is missing, and print the tables of each length."""
    options = parse()
    torch.set_num_threads(options.threads)  # for the titles of the tables
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, options.out.resolve())
    for minutes in options.minutes:
        folds = len(options.groups) + (not options.skip_val)
        finals = complete([*bench.finals(minutes)], folds * len(options.seeds))
        if not finals:
            continue
        show(f"{minutes:g} minutes, seeds {options.seeds}", summary(finals), options.json, f"{minutes:g}")
        paired = differences(finals, options.bootstrap_pattern)
        if paired:
            show(f"{minutes:g} minutes: ours less the best peer", paired, options.json, f"{minutes:g}.paired")


def show(title: str, rows: list[dict[str, Any]], file: Path | None, suffix: str) -> None:
    """Print a table, and write it to a JSON file whose name ends with a suffix, see `common.report`.

    Args:
        title: the title of the table.
        rows: the rows.
        file: the path without the suffix; None writes no file.
        suffix: what to add to the name of the file.
    """
    report(title, rows, None if file is None else file.with_name(f"{file.name}.{suffix}.json"))


if __name__ == "__main__":
    main()
