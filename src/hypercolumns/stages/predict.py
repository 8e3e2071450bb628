"""Segment new images with a finished model."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from hypercolumns import model_file
from hypercolumns.errors import HypercolumnsError, check_share, check_switch, check_whole
from hypercolumns.export import export_onnx, export_torch
from hypercolumns.factored import Adaptive
from hypercolumns.files import file_hash, replacing
from hypercolumns.images import read_mask
from hypercolumns.prediction import (
    OUTPUTS,
    Frame,
    How,
    Look,
    Needs,
    Origin,
    Output,
    Predicted,
    Record,
    Source,
    ahead,
    check_package,
    find_sources,
    predicted,
    read_frames,
)
from hypercolumns.progress import Bar, console
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build
from hypercolumns.stages.runs import RECORD, Run
from hypercolumns.stages.truth import Truth, remove_figures
from hypercolumns.views import ONE

SHARES = "shares.csv"
Outputs = Mapping[str, Output]


def predict(cfg: DictConfig) -> int:
    """Write what is wanted of each image, and score it where there are true masks; returns how many images failed.

    Or, if the setting `export` asks for it, write the model for use without this package. What the same command has
    written before is not done again. Raises HypercolumnsError for settings that can't be, and for a file that can't be
    written.
    """
    build.quiet_libraries()
    if cfg.export is not None:
        _export(cfg)
        return 0
    _check_settings(cfg)
    outputs = _outputs(cfg)
    how = _how(cfg, outputs)
    path = model_file.find(Path(cfg.model).expanduser())
    segmenter = Segmenter.load(path).to(device(cfg.device))
    build.tune(segmenter, cfg)
    out = Path(cfg.out).expanduser()
    sources = find_sources(str(cfg.images), [output.suffix for output in outputs.values()], out)
    if any(source.video for source in sources):
        check_package("av", "video", f"images={cfg.images}")
    _check_folder(cfg, out, sources, outputs)
    truth = None
    if cfg.masks is not None:
        truth = Truth(Path(cfg.masks).expanduser(), sources, segmenter.classes, segmenter.palette)
    settings = {
        "model": file_hash(path)[:16],
        "adaptive": [cfg.adaptive_start, cfg.adaptive_margin] if cfg.adaptive else False,
        "tta": [list(how.views.scales), how.views.flip],
        "precision": "bf16" if how.bf16 else "32",
        "opacity": cfg.opacity,
        "legend": cfg.legend,
    }
    with Record(out, settings, cfg.overwrite) as record:
        remove_figures(Run(out))
        names, faults = _predict(cfg, segmenter, sources, outputs, how, record, truth)
        if cfg.outputs.shares:
            _write_shares(out / SHARES, record, names, segmenter.classes)
        if truth is not None:
            truth.conclude(Run(out), {"model": str(cfg.model), "images": str(cfg.images)})
    _say_shares([record.counts[name] for name in names], segmenter.classes)
    console.print(f"outputs in {out}", markup=False)
    if faults:
        console.print(f"{len(faults)} images failed:", *faults, sep="\n  ", markup=False)
    return len(faults)


def _export(cfg: DictConfig) -> None:
    """Write <out>/model.onnx or <out>/model.pt2."""
    kinds = {"onnx": (export_onnx, ".onnx"), "torch": (export_torch, ".pt2")}
    if cfg.export not in kinds:
        raise HypercolumnsError(f"export={cfg.export} is not known; choose one of {', '.join(kinds)}")
    write, suffix = kinds[cfg.export]
    path = (Path(cfg.out).expanduser() / "model").with_suffix(suffix)
    if path.exists():
        check_switch("overwrite", cfg.overwrite)
        if not cfg.overwrite:
            raise HypercolumnsError(f"{path} is there already; choose another out=, or replace it by overwrite=true")
    segmenter = Segmenter.load(model_file.find(Path(cfg.model).expanduser()))
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
    for name in ("adaptive", "overwrite", "legend"):
        check_switch(name, cfg[name])
    for name, value in cfg.outputs.items():
        check_switch(f"outputs.{name}", value)
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
    if not wanted and not cfg.outputs.shares:
        raise HypercolumnsError(f"nothing is wanted: set one of {', '.join(f'outputs.{name}' for name in cfg.outputs)}")
    if cfg.masks is not None and not cfg.outputs.mask:
        raise HypercolumnsError("masks= compares them with the masks that are written; leave outputs.mask=true")
    return wanted


def _how(cfg: DictConfig, outputs: Outputs) -> How:
    adaptive, views = Adaptive(cfg.adaptive_start, cfg.adaptive_margin), build.views(cfg)
    unsure: dict[Needs, str] = {output.needs: name for name, output in outputs.items() if output.needs != "labels"}
    needs: Needs = "probabilities" if "probabilities" in unsure else "certainty" if unsure else "labels"
    if cfg.adaptive and (unsure or views != ONE):
        other = f"outputs.{unsure[needs]}" if unsure else "tta.flip and tta.scales"
        raise HypercolumnsError(
            f"adaptive=true does not classify all pixels, and of one view; leave out adaptive, or {other}"
        )
    bf16 = _bf16(cfg.precision, device(cfg.device))
    return How(needs, adaptive if cfg.adaptive else None, views, bf16, cfg.batch_size)


def _bf16(precision: int | str, device: torch.device) -> bool:
    """Whether to predict in bf16: `auto` does on GPUs that compute in it."""
    if str(precision) not in ("auto", "32", "bf16"):
        raise HypercolumnsError(f"precision={precision} must be auto, 32 or bf16")
    if str(precision) == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(precision) == "bf16"


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


def _predict(
    cfg: DictConfig,
    segmenter: Segmenter,
    sources: Sequence[Source],
    outputs: Outputs,
    how: How,
    record: Record,
    truth: Truth | None,
) -> tuple[list[str], list[str]]:
    """Predict what is not done yet; returns the names of all that is done now, and what went wrong."""
    look = Look(segmenter.classes, segmenter.palette, cfg.opacity, cfg.legend)
    names: list[str] = []
    faults: list[str] = []

    def files(name: str) -> dict[str, Path]:
        return {kind: record.path.parent / f"{name}{output.suffix}" for kind, output in outputs.items()}

    def wanted(name: str, origin: Origin | None) -> bool:
        if not (record.has(name, origin) and all(path.is_file() for path in files(name).values())):
            return True
        if truth is not None:
            compare(name, read_mask(files(name)["mask"], segmenter.palette, len(segmenter.classes)))
        names.append(name)
        bar.advance()
        return False

    def sound(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.image is not None:
                yield frame
            else:
                faults.append(frame.fault)
                bar.advance()

    def write(one: Predicted) -> Predicted:
        for kind, path in files(one.frame.name).items():
            outputs[kind].write(path, one, look)
        return one

    def compare(name: str, labels: torch.Tensor) -> None:
        try:
            if truth is not None:
                truth.compare(name, labels)
        except HypercolumnsError as error:
            faults.append(str(error))

    total, fresh = None if any(source.video for source in sources) else len(sources), 0
    with Bar("predict", total) as bar:
        frames = sound(read_frames(sources, wanted, cfg.every, cfg.num_workers))
        for one in ahead(write, predicted(segmenter, frames, how), cfg.num_workers):
            pixels = np.bincount(one.labels.ravel(), minlength=len(look.classes))
            record.add(one.frame.name, one.frame.origin, pixels.tolist())
            compare(one.frame.name, torch.from_numpy(one.labels))
            names.append(one.frame.name)
            fresh += 1
            bar.advance()
    if fresh < len(names):
        done = len(names) - fresh
        console.print(f"{done} of them were done before (overwrite=true does them again)", markup=False)
    return names, faults


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


def _say_shares(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Each class's share of all pixels, the largest first."""
    if counts:
        pixels = np.sum(counts, axis=0)
        shares = sorted(zip(pixels / pixels.sum(), classes, strict=True), reverse=True)
        said = ", ".join(f"{name} {share:.1%}" for share, name in shares if share)
        console.print(f"{len(counts)} images: {said}", markup=False)
