"""Segment new images with a finished model."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from hypercolumns import model_file
from hypercolumns.errors import HypercolumnsError, check_share, check_switch, check_whole
from hypercolumns.evaluation import DRAWS, WIDTH, Counts, Evaluation, count, intervals
from hypercolumns.factored import Adaptive
from hypercolumns.files import file_hash, read_json, replacing, write_json
from hypercolumns.images import read_mask
from hypercolumns.prediction import (
    OUTPUTS,
    Frame,
    Look,
    Origin,
    Output,
    Predicted,
    Record,
    Source,
    ahead,
    check_package,
    find_sources,
    read_frames,
)
from hypercolumns.progress import Bar, console
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build, report
from hypercolumns.stages.runs import RECORD, Run
from hypercolumns.views import ONE, Views

SHARES = "shares.csv"
Outputs = Mapping[str, Output]


class How(NamedTuple):
    """How images are predicted."""

    adaptive: Adaptive | None
    views: Views
    bf16: bool
    certainty: bool  # whether confidence and entropy are wanted
    probabilities: bool  # whether those of all classes are wanted


class Masks(NamedTuple):
    """Where true masks are, and those of the images that were compared with them, in order."""

    folder: Path
    counts: dict[str, Counts]


def predict(cfg: DictConfig) -> int:
    """Write what is wanted of each image, and score it where there are true masks; returns how many images failed.

    What the same command has written before is not done again. Raises HypercolumnsError for settings that can't be, and
    for a file that can't be written.
    """
    build.quiet_libraries()
    _check_settings(cfg)
    outputs = _outputs(cfg)
    how = _how(cfg, outputs)
    path = model_file.find(Path(cfg.model).expanduser())
    segmenter = Segmenter.load(path).to(device(cfg.device))
    build.tune(segmenter, cfg)
    sources = _sources(cfg, outputs)
    out = Path(cfg.out).expanduser()
    _check_folder(cfg, out, sources, outputs)
    masks = None if cfg.masks is None else Masks(_mask_folder(cfg, sources), {})
    settings = {
        "model": file_hash(path)[:16],
        "adaptive": [cfg.adaptive_start, cfg.adaptive_margin] if cfg.adaptive else False,
        "tta": [list(how.views.scales), how.views.flip],
        "precision": "bf16" if how.bf16 else "32",
        "opacity": cfg.opacity,
        "legend": cfg.legend,
    }
    run = Run(out)
    with Record(out, settings, cfg.overwrite) as record:
        if run.metrics.is_file() and "boundary_width" in read_json(run.metrics):  # of what was predicted before
            for stale in (run.counts, run.metrics):
                stale.unlink(missing_ok=True)
        names, faults = _predict(cfg, segmenter, sources, outputs, how, record, masks)
        if cfg.outputs.shares:
            _write_shares(out / SHARES, record, names, segmenter.classes)
        if masks is not None and masks.counts:
            _score(cfg, segmenter, masks, run)
    pixels = np.sum([record.counts[name] for name in names], axis=0) if names else np.zeros(len(segmenter.classes))
    shares = sorted(zip(pixels / max(pixels.sum(), 1), segmenter.classes, strict=True), reverse=True)
    said = ", ".join(f"{name} {share:.1%}" for share, name in shares if share)
    console.print(f"{len(names)} images: {said}" if names else "no images", markup=False)
    console.print(f"outputs in {out}", markup=False)
    if faults:
        console.print(f"{len(faults)} images failed:", markup=False)
        for fault in faults:
            console.print(f"  {fault}", markup=False)
    return len(faults)


def device(name: str) -> torch.device:
    """The device of that name, `auto` for an accelerator if there is one; raises HypercolumnsError if it can't be."""
    if name == "meta":
        raise HypercolumnsError("device=meta holds no values; try device=auto")
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise HypercolumnsError(
            f"device={name} can't be used ({str(error).splitlines()[0]}); try device=auto"
        ) from error


def _check_settings(cfg: DictConfig) -> None:
    for name in ("adaptive", "overwrite", "legend", *(f"outputs.{name}" for name in cfg.outputs)):
        group, _, setting = name.rpartition(".")
        check_switch(name, (cfg[group] if group else cfg)[setting])
    check_share("opacity", cfg.opacity)
    check_whole("batch_size", cfg.batch_size, least=1)
    check_whole("num_workers", cfg.num_workers, least=0)
    check_whole("every", cfg.every, least=1)


def _outputs(cfg: DictConfig) -> Outputs:
    """The outputs that are wanted."""
    wanted = {name: output for name, output in OUTPUTS.items() if cfg.outputs[name]}
    for name, output in wanted.items():
        if output.package is not None:
            check_package(output.package, name, f"outputs.{name}=true")
    if not wanted and not cfg.outputs.shares and cfg.masks is None:
        raise HypercolumnsError(f"nothing is wanted: set one of {', '.join(f'outputs.{name}' for name in cfg.outputs)}")
    if cfg.masks is not None and not cfg.outputs.mask:
        raise HypercolumnsError("masks= compares them with the masks that are written; leave outputs.mask=true")
    return wanted


def _how(cfg: DictConfig, outputs: Outputs) -> How:
    settings = Adaptive(cfg.adaptive_start, cfg.adaptive_margin)
    views = build.views(cfg)
    unsure = [name for name, output in outputs.items() if output.needs != "labels"]
    if cfg.adaptive and (unsure or views != ONE):
        other = f"outputs.{unsure[0]}" if unsure else "tta.flip and tta.scales"
        raise HypercolumnsError(
            f"adaptive=true does not classify all pixels, and of one view; leave out adaptive, or {other}"
        )
    return How(
        settings if cfg.adaptive else None,
        views,
        _bf16(cfg.precision, device(cfg.device)),
        bool(unsure),
        any(output.needs == "probabilities" for output in outputs.values()),
    )


def _bf16(precision: int | str, device: torch.device) -> bool:
    """Whether to predict in bf16: `auto` does on GPUs that compute in it."""
    if str(precision) not in ("auto", "32", "bf16"):
        raise HypercolumnsError(f"precision={precision} must be auto, 32 or bf16")
    if str(precision) == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(precision) == "bf16"


def _sources(cfg: DictConfig, outputs: Outputs) -> list[Source]:
    sources = find_sources(str(cfg.images), [output.suffix for output in outputs.values()])
    if any(source.video for source in sources):
        check_package("av", "video", f"images={cfg.images}")
    return sources


def _check_folder(cfg: DictConfig, out: Path, sources: Sequence[Source], outputs: Outputs) -> None:
    """Raise HypercolumnsError if files that are not outputs of this command would be replaced."""
    if (out / RECORD).is_file():
        raise HypercolumnsError(
            f"out={out} is the folder of a run, whose files would be replaced; choose another folder"
        )
    files = [out / f"{source.name}{output.suffix}" for source in sources for output in outputs.values()]
    own = {Path(source.path).resolve() for source in sources} & {file.resolve() for file in files}
    if own:
        raise HypercolumnsError(f"out={out} would overwrite the image {min(own)}; choose another folder")
    there = [file for file in files if file.exists()]
    if there and not cfg.overwrite and not Record.exists(out):
        raise HypercolumnsError(
            f"out={out} has a file {there[0].name} that predict.py has not recorded; choose another folder, or replace "
            f"it by overwrite=true"
        )


def _mask_folder(cfg: DictConfig, sources: Sequence[Source]) -> Path:
    masks = Path(cfg.masks).expanduser()
    missing = [source.name for source in sources if not source.video and not (masks / f"{source.name}.png").is_file()]
    if missing:
        raise HypercolumnsError(
            f"masks={masks} lacks {len(missing)} masks, such as {missing[0]}.png; "
            f"add them, or leave out masks= to predict without scoring"
        )
    return masks


def _predict(
    cfg: DictConfig,
    segmenter: Segmenter,
    sources: Sequence[Source],
    outputs: Outputs,
    how: How,
    record: Record,
    masks: Masks | None,
) -> tuple[list[str], list[str]]:
    """Predict what is not done yet; returns the names of all that is done now, in order, and what went wrong."""
    look = Look(segmenter.classes, segmenter.palette, cfg.opacity, cfg.legend)
    names: list[str] = []
    faults: list[str] = []
    skipped = 0

    def files(name: str) -> dict[Path, Output]:
        return {record.path.parent / f"{name}{output.suffix}": output for output in outputs.values()}

    def wanted(name: str, origin: Origin | None) -> bool:
        nonlocal skipped
        if not (record.has(name, origin) and all(path.is_file() for path in files(name))):
            return True
        skipped += 1
        names.append(name)
        bar.advance()
        if masks is not None:
            compare(name, read_mask(next(iter(files(name))), segmenter.palette, len(segmenter.classes)))
        return False

    def write(one: Predicted) -> Predicted:
        for path, output in files(one.frame.name).items():
            output.write(path, one, look)
        return one

    def compare(name: str, labels: Tensor) -> None:
        assert masks is not None, "there are masks"
        try:
            truth = read_mask(masks.folder / f"{name}.png", segmenter.palette, len(segmenter.classes))
            if truth.shape != labels.shape:
                raise HypercolumnsError(
                    f"{masks.folder / name}.png is {truth.shape[1]}x{truth.shape[0]}, its image {labels.shape[1]}x"
                    f"{labels.shape[0]}; they must have the same size"
                )
            masks.counts[name] = count(name, labels, truth, len(segmenter.classes), WIDTH)
        except HypercolumnsError as error:
            faults.append(str(error))

    def sound(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.image is None:
                faults.append(frame.fault)
                bar.advance()
            else:
                yield frame

    total = None if any(source.video for source in sources) else len(sources)
    with Bar("predict", total) as bar:
        frames = sound(read_frames(sources, wanted, cfg.every, cfg.num_workers))
        for one in ahead(write, _predicted(segmenter, frames, cfg.batch_size, how), cfg.num_workers):
            name = one.frame.name
            record.add(name, one.frame.origin, np.bincount(one.labels.ravel(), minlength=len(look.classes)).tolist())
            names.append(name)
            bar.advance()
            if masks is not None:
                compare(name, torch.from_numpy(one.labels))
    if skipped:
        console.print(f"{skipped} of them were done before (overwrite=true does them again)", markup=False)
    return names, faults


def _predicted(segmenter: Segmenter, frames: Iterable[Frame], batch_size: int, how: How) -> Iterator[Predicted]:
    """What is predicted of frames, those together that follow each other and have one size."""
    place = segmenter.backbone.get_buffer("mean").device
    for _, group in itertools.groupby(frames, lambda frame: frame.pixels.shape):
        while batch := list(itertools.islice(group, batch_size)):
            images = torch.stack([frame.pixels for frame in batch]) if len(batch) > 1 else batch[0].pixels[None]
            with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=how.bf16):
                if not how.certainty:
                    labels = segmenter.labels(images.to(place), how.adaptive, how.views).cpu().numpy()
                    yield from map(Predicted, batch, labels)
                    continue
                found = segmenter.decisions(images.to(place), how.views, how.probabilities)
            each = [one.cpu().numpy() for one in found if one is not None]
            yield from map(Predicted, batch, *each)


def _write_shares(path: Path, record: Record, names: Iterable[str], classes: Sequence[str]) -> None:
    """A row for each image: its name, its pixels, and each class's share of them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name in sorted(names):
        pixels = record.counts[name]
        writer.writerow([name, sum(pixels), *(f"{of_class / sum(pixels):.6f}" for of_class in pixels)])
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _score(cfg: DictConfig, segmenter: Segmenter, masks: Masks, run: Run) -> None:
    """Write and show the figures of the masks that were compared."""
    counts = [masks.counts[name] for name in sorted(masks.counts)]
    evaluation = Evaluation.of(counts, segmenter.classes, WIDTH)
    about = {"model": str(cfg.model), "images": str(cfg.images), "masks": str(masks.folder)}
    evaluation.save(run.counts)
    uncertainty = {"intervals": intervals(evaluation, None, DRAWS, 0)}
    write_json(run.metrics, evaluation.figures() | uncertainty | {"evaluated": about})
    report.show(read_json(run.metrics), f"{len(counts)} images against {masks.folder}", {"metrics": run.metrics})
