"""Segment new images with a finished model."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, check_bool, check_fraction, check_int, setting_prefix
from hypercolumns.io.files import atomic_write, expand_path, file_hash, remove_temporaries
from hypercolumns.io.images import read_mask, set_max_pixels
from hypercolumns.models import model_file
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA
from hypercolumns.prediction import (
    OUTPUTS,
    Frame,
    ImagePrediction,
    PredictionKind,
    PredictionManifest,
    PredictOptions,
    RenderStyle,
    Source,
    check_package,
    find_sources,
    predict_batches,
    prefetch_map,
    read_frames,
)
from hypercolumns.prediction.ground_truth import GroundTruth, remove_figures
from hypercolumns.runs.run import RECORD, Run
from hypercolumns.runtime.progress import ProgressBar, console
from hypercolumns.settings import build

SHARES = "shares.csv"
MAX_SHOWN = 20  # of what went wrong
RequestedOutputs = Mapping[str, Any]  # kind -> how it is made


class RunSummary(NamedTuple):
    """The names of the images that are done, and what went wrong with others."""

    names: list[str]
    faults: list[str]


def predict(cfg: DictConfig) -> int:
    """Write what is wanted of each image, and score it where there are true masks; returns how many images failed.

    Or, if the setting `export` asks for it, write the model for use without this package. What the same command has
    written before is not done again. Raises HypercolumnsError for settings that can't be, and for a file that can't be
    written.
    """
    build.quiet_libraries()
    set_max_pixels(cfg.max_pixels)
    if cfg.export is not None:
        _export(cfg)
        return 0
    _check_settings(cfg)
    outputs = _outputs(cfg)
    how = _how(cfg, outputs)
    with setting_prefix("model="):
        path = model_file.find_model(expand_path("model", cfg.model)).resolve()  # what `latest` leads to now
        segmenter = Segmenter.load(path).to(device(cfg.device))
    build.configure_inference(segmenter, cfg)
    sources = find_sources(str(cfg.images), [OUTPUTS[kind].suffix for kind in outputs])
    if any(source.video for source in sources):
        check_package("av", "video", f"images={cfg.images}")
    out = expand_path("out", cfg.out)
    _check_folder(cfg, out, sources, outputs)
    truth = None
    if cfg.masks is not None:
        truth = GroundTruth(expand_path("masks", cfg.masks), sources, segmenter.classes, segmenter.palette)
    settings = {
        "model": file_hash(path)[:16],
        "adaptive": [cfg.adaptive_stride, cfg.adaptive_margin] if cfg.adaptive else False,
        "tta": [list(how.views.scales), how.views.flip],
        "precision": "bf16" if how.bf16 else "32",
    }
    done = RunSummary([], [])
    with PredictionManifest(out, settings, outputs, cfg.overwrite) as record:
        _check_files(cfg, sources, record)
        record.start()
        try:
            _predict(cfg, segmenter, sources, how, record, truth, done)
        finally:
            _say_shares(cfg, record, done, segmenter.classes)  # how a stream ends is by Ctrl-C
        if truth is not None:
            truth.conclude(Run(out), {"model": str(cfg.model), "images": str(cfg.images)})
    console.print(f"outputs in {out}", markup=False)
    if done.faults:
        shown = [
            *done.faults[:MAX_SHOWN],
            *([f"and {len(done.faults) - MAX_SHOWN} more"] if len(done.faults) > MAX_SHOWN else []),
        ]
        lines = "\n  ".join([f"{len(done.faults)} images failed:", *shown])
        console.print(lines.encode("utf-8", "replace").decode(), markup=False)  # file names may be anything
    return len(done.faults)


def _export(cfg: DictConfig) -> None:
    """Write <out>/model.onnx or <out>/model.pt2."""
    from hypercolumns.export import export_onnx, export_torch  # which asks for more of torch than predictions need

    kinds = {"onnx": (export_onnx, ".onnx"), "torch": (export_torch, ".pt2")}
    if cfg.export not in kinds:
        raise HypercolumnsError(f"export={cfg.export} is not known; choose one of {', '.join(kinds)}")
    write, suffix = kinds[cfg.export]
    path = (expand_path("out", cfg.out) / "model").with_suffix(suffix)
    if path.exists():
        check_bool("overwrite", cfg.overwrite)
        if not cfg.overwrite:
            raise HypercolumnsError(f"{path} is there already; choose another out=, or replace it by overwrite=true")
    with setting_prefix("model="):
        segmenter = Segmenter.load(expand_path("model", cfg.model))
    with setting_prefix("export_"):
        found = write(segmenter, path, cfg.export_input, cfg.export_output)
    console.print(f"{path}: {found.labels:.2%} of the labels are the model's own, on images of noise", markup=False)
    if found.logits is not None:
        console.print(f"logits differ by {found.logits:.1e} of their range at most", markup=False)


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
    for name in ("images", "out"):
        if not isinstance(cfg[name], str) or not cfg[name]:
            raise HypercolumnsError(f"{name}={cfg[name]} must be a path; several go on the lines of a .txt")
    for name in ("adaptive", "overwrite", "legend"):
        check_bool(name, cfg[name])
    for name, value in cfg.outputs.items():
        check_bool(f"outputs.{name}", value)
    check_fraction("opacity", cfg.opacity)
    check_int("batch_size", cfg.batch_size, minimum=1)
    check_int("num_workers", cfg.num_workers, minimum=0)
    check_int("every", cfg.every, minimum=1)


def _outputs(cfg: DictConfig) -> RequestedOutputs:
    """The outputs that are wanted."""
    wanted: dict[str, Any] = {kind: True for kind in OUTPUTS if cfg.outputs[kind]}
    if "overlay" in wanted:
        wanted["overlay"] = [cfg.opacity, cfg.legend]
    for kind in wanted:
        if (package := OUTPUTS[kind].package) is not None:
            check_package(package, kind, f"outputs.{kind}=true")
    if not wanted and not cfg.outputs.shares:
        raise HypercolumnsError(f"nothing is wanted: set one of {', '.join(f'outputs.{name}' for name in cfg.outputs)}")
    if cfg.masks is not None and not cfg.outputs.mask:
        raise HypercolumnsError("masks= compares them with the masks that are written; leave outputs.mask=true")
    return wanted


def _how(cfg: DictConfig, outputs: RequestedOutputs) -> PredictOptions:
    with setting_prefix("adaptive_"):
        adaptive = AdaptiveSettings(cfg.adaptive_stride, cfg.adaptive_margin)
    views = build.test_time_augmentation(cfg)
    unsure: dict[PredictionKind, str] = {
        OUTPUTS[kind].needs: kind for kind in outputs if OUTPUTS[kind].needs != "labels"
    }
    needs: PredictionKind = "probabilities" if "probabilities" in unsure else "certainty" if unsure else "labels"
    if cfg.adaptive and (unsure or views != NO_TTA):
        other = f"outputs.{unsure[needs]}" if unsure else "tta.flip and tta.scales"
        raise HypercolumnsError(
            f"adaptive=true classifies some pixels only, of one view; leave out adaptive, or {other}"
        )
    bf16 = _bf16(cfg.precision, device(cfg.device))
    return PredictOptions(needs, adaptive if cfg.adaptive else None, views, bf16, cfg.batch_size)


def _bf16(precision: int | str, device: torch.device) -> bool:
    """Whether to predict in bf16: `auto` does on GPUs that compute in it."""
    if str(precision) not in ("auto", "32", "bf16"):
        raise HypercolumnsError(f"precision={precision} must be auto, 32 or bf16")
    if str(precision) == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(precision) == "bf16"


def _check_folder(cfg: DictConfig, out: Path, sources: Sequence[Source], outputs: RequestedOutputs) -> None:
    """Raise HypercolumnsError if `out` is a run's folder, or an image or a true mask would be replaced by an output."""
    if (out / RECORD).is_file():
        raise HypercolumnsError(
            f"out={out} is the folder of a run, whose files would be replaced; choose another folder"
        )
    files = {(out / f"{source.name}{OUTPUTS[kind].suffix}").resolve() for source in sources for kind in outputs}
    own = {Path(source.path).resolve() for source in sources}
    if cfg.masks is not None:
        own |= {(expand_path("masks", cfg.masks) / f"{source.name}.png").resolve() for source in sources}
    if own & files:
        raise HypercolumnsError(f"out={out} would overwrite the image {min(own & files)}; choose another folder")


def _check_files(cfg: DictConfig, sources: Sequence[Source], record: PredictionManifest) -> None:
    """Raise HypercolumnsError if what others have written would be replaced; tables of what was here before go."""
    run, shares = Run(record.folder), record.folder / SHARES
    for source in sources:
        origin = source.origin()
        if not source.video and origin is not None:  # a video's frames are checked as they come
            record.check(source.name, origin)
    if not record.is_new:
        remove_figures(run)
        remove_temporaries(shares)
        shares.unlink(missing_ok=True)
    elif not cfg.overwrite:
        own = [shares] * cfg.outputs.shares + [run.metrics, run.counts] * (cfg.masks is not None)
        there = [path for path in own if path.exists()]
        if there:
            raise HypercolumnsError(f"{there[0]} would be replaced; choose another out=, or set overwrite=true")


def _predict(
    cfg: DictConfig,
    segmenter: Segmenter,
    sources: Sequence[Source],
    how: PredictOptions,
    record: PredictionManifest,
    truth: GroundTruth | None,
    done: RunSummary,
) -> None:
    """Predict what is not done yet; `done` is told of all."""
    look = RenderStyle(segmenter.classes, segmenter.palette, cfg.opacity, cfg.legend)
    before = 0

    def compare(name: str, labels: torch.Tensor) -> None:
        try:
            if truth is not None:
                truth.compare(name, labels)
        except HypercolumnsError as error:
            done.faults.append(str(error))

    def to_predict(frames: Iterable[Frame]) -> Iterator[Frame]:
        nonlocal before
        for frame in frames:
            fault = frame.fault or (_too_long(record, frame.name) if frame.image is not None else "")
            if frame.image is not None and not fault:
                record.check(frame.name, frame.origin)
                record.begin(frame.name, frame.origin)
                yield frame
                continue
            if fault:
                done.faults.append(fault)
            else:
                before += 1
                done.names.append(frame.name)
                if truth is not None:
                    compare(frame.name, read_mask(record.path(frame.name, "mask"), look.palette, len(look.classes)))
            bar.advance()

    def write(one: ImagePrediction) -> ImagePrediction:
        for kind in record.missing(one.frame.name, one.frame.origin):
            OUTPUTS[kind].write(record.path(one.frame.name, kind), one, look)
        return one

    total = None if any(source.video for source in sources) else len(sources)
    with ProgressBar("predict", total) as bar:
        frames = read_frames(sources, lambda *image: not record.is_done(*image), cfg.every, cfg.num_workers)
        for one in prefetch_map(write, predict_batches(segmenter, to_predict(frames), how), cfg.num_workers):
            pixels = np.bincount(one.labels.ravel(), minlength=len(look.classes))
            record.add(one.frame.name, one.frame.origin, pixels.tolist())
            done.names.append(one.frame.name)
            compare(one.frame.name, torch.from_numpy(one.labels))
            bar.advance()
    if before:
        console.print(f"done before: {before} (overwrite=true does them again)", markup=False)


def _too_long(record: PredictionManifest, name: str) -> str:
    """What is wrong if the name of an output is longer than file systems take."""
    longest = max((record.path(name, kind).name for kind in record.outputs), key=len, default="")
    return f"{longest} is too long for a file's name; rename the image" if len(os.fsencode(longest)) > 255 else ""


def _say_shares(cfg: DictConfig, record: PredictionManifest, done: RunSummary, classes: Sequence[str]) -> None:
    """Write and show each class's share of the images that are done."""
    counts = {name: record.pixels(name) for name in sorted(done.names)}
    if cfg.outputs.shares and counts:
        _write_shares(record.folder / SHARES, counts, classes)
    if counts:
        pixels = np.sum([*counts.values()], axis=0)
        shares = sorted(zip(pixels / pixels.sum(), classes, strict=True), reverse=True)
        said = ", ".join(f"{name} {share:.1%}" for share, name in shares if share)
        console.print(f"{len(counts)} images: {said}", markup=False)


def _write_shares(path: Path, counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """A row for each image: its name, its pixels, and each class's share of them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name, pixels in counts.items():
        writer.writerow([name, sum(pixels), *(f"{of_class / sum(pixels):.6f}" for of_class in pixels)])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")  # names of files
