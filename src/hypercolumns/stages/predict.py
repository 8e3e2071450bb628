"""Segment new images with a finished model."""

import glob
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from hypercolumns.errors import HypercolumnsError, check_switch
from hypercolumns.evaluation import DRAWS, WIDTH, Evaluation, count, intervals
from hypercolumns.factored import Adaptive
from hypercolumns.files import read_json, write_json
from hypercolumns.images import SUFFIXES, overlay, read_image, read_mask, write_image, write_mask
from hypercolumns.progress import console, track
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build, report
from hypercolumns.stages.runs import RECORD, Run

OVERLAY = ".overlay.jpg"


def predict(cfg: DictConfig) -> None:
    """Write a mask and an overlay for each image; score them where there are true masks."""
    build.quiet_libraries()
    check_switch("adaptive", cfg.adaptive)
    settings = Adaptive(cfg.adaptive_start, cfg.adaptive_margin)
    adaptive = settings if cfg.adaptive else None
    views = build.views(cfg)
    segmenter = Segmenter.load(Path(cfg.model).expanduser()).to(_device(cfg.device))
    build.tune(segmenter, cfg)
    precision = _precision(cfg.precision, segmenter.backbone.get_buffer("mean").device)
    out = Path(cfg.out).expanduser()
    run = Run(out)
    if (out / RECORD).is_file():
        raise HypercolumnsError(
            f"out={out} is the folder of a run, whose files would be replaced; choose another folder"
        )
    names = find_images(cfg.images)
    own = {path.resolve() for path in names} & {
        (out / f"{name}{suffix}").resolve() for name in names.values() for suffix in (".png", OVERLAY)
    }
    if own:
        raise HypercolumnsError(f"out={out} would overwrite the image {min(own)}; choose another folder")
    masks = None if cfg.masks is None else Path(cfg.masks).expanduser()
    if masks is not None:
        missing = [name for name in names.values() if not (masks / f"{name}.png").is_file()]
        if missing:
            raise HypercolumnsError(
                f"masks={masks} lacks {len(missing)} masks, such as {missing[0]}.png; "
                f"add them, or leave out masks= to predict without scoring"
            )
    counts = []
    if run.metrics.is_file() and "boundary_width" in read_json(run.metrics):  # of other predictions in this folder
        for stale in (run.counts, run.metrics):
            stale.unlink(missing_ok=True)
    pixels = np.zeros(len(segmenter.classes), np.int64)
    for path, name in track(list(names.items()), "predict"):
        image = read_image(path)
        with precision:
            labels = segmenter.predict(image, adaptive, views)
        write_mask(out / f"{name}.png", labels, segmenter.palette)
        blended = overlay(image.permute(1, 2, 0).numpy(), labels, segmenter.palette)
        write_image(out / f"{name}{OVERLAY}", Image.fromarray(blended))
        pixels += np.bincount(labels.ravel(), minlength=len(pixels))
        if masks is not None:
            truth = read_mask(masks / f"{name}.png", segmenter.palette, len(segmenter.classes))
            if truth.shape != labels.shape:
                raise HypercolumnsError(
                    f"{masks / name}.png is {truth.shape[1]}x{truth.shape[0]}, its image {path} is "
                    f"{labels.shape[1]}x{labels.shape[0]}; they must have the same size"
                )
            counts.append(count(name, torch.from_numpy(labels), truth, len(segmenter.classes), WIDTH))
    shares = sorted(zip(pixels / pixels.sum(), segmenter.classes, strict=True), reverse=True)
    console.print(
        f"{len(names)} images: " + ", ".join(f"{name} {share:.1%}" for share, name in shares if share), markup=False
    )
    if masks is not None:
        evaluation = Evaluation.of(counts, segmenter.classes, WIDTH)
        about = {"model": str(cfg.model), "images": str(cfg.images), "masks": str(masks)}
        evaluation.save(run.counts)
        uncertainty = {"intervals": intervals(evaluation, None, DRAWS, 0)}
        write_json(run.metrics, evaluation.figures() | uncertainty | {"evaluated": about})
        report.show(read_json(run.metrics), f"{len(names)} images against {masks}", {"metrics": run.metrics})
    console.print(f"masks and overlays in {out}", markup=False)


def find_images(pattern: str) -> dict[Path, str]:
    """The images that a file, a folder or a glob pattern means: path -> name of its outputs, without suffix.

    Images in a folder keep their place in it, and those of a pattern their place below the folder that they have in
    common. Two images that differ only in their suffix keep it in the name.
    """
    place = Path(pattern).expanduser()
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in SUFFIXES]
        names = {path: path.relative_to(place) for path in paths}
    else:
        paths = [place] if place.is_file() else [Path(found) for found in sorted(glob.glob(str(place), recursive=True))]
        paths = [path for path in paths if path.is_file()]
        above = os.path.commonpath([path.parent.absolute() for path in paths]) if paths else ""
        names = {path: path.absolute().relative_to(above) for path in paths}
    if not names:
        raise HypercolumnsError(
            f"images={pattern} is neither an image, nor a folder with images ({' '.join(SUFFIXES)}), "
            f"nor a pattern that matches any"
        )
    stems = Counter(name.with_suffix("") for name in names.values())
    return {
        path: (name.with_suffix("") if stems[name.with_suffix("")] == 1 else name).as_posix()
        for path, name in names.items()
    }


def _precision(name: int | str, device: torch.device) -> torch.autocast:
    """The context to predict in."""
    if str(name) not in ("32", "bf16"):
        raise HypercolumnsError(f"precision={name} must be 32 or bf16")
    return torch.autocast(device.type, torch.bfloat16, enabled=str(name) == "bf16")


def _device(name: str) -> torch.device:
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
