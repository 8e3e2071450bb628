"""Segment images with a finished model: the work of predict.py."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.data.pairing import find_mask
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.evaluation import BOOTSTRAP_SAMPLES, Evaluation, intervals
from hypercolumns.io.files import expand_path, file_hash, read_json, remove_temporaries, write_json
from hypercolumns.io.images import set_max_pixels
from hypercolumns.models import model_file
from hypercolumns.models.overlap_agreement import OverlapAgreement
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.prediction import (
    CLASS_FRACTIONS,
    OUTPUTS,
    AnnotationFiles,
    GroundTruth,
    PredictionManifest,
    PredictionRun,
    RunSummary,
    Source,
    check_package,
    find_sources,
)
from hypercolumns.reports.metric_tables import print_metrics
from hypercolumns.runs.file_names import COUNTS, METRICS, RUN_FILE
from hypercolumns.runtime.memory import keep_freed_memory
from hypercolumns.runtime.progress import console
from hypercolumns.settings.inference import configure_inference, quiet_libraries
from hypercolumns.settings.predict import (
    annotation_files,
    check_predict_settings,
    find_device,
    given_decoding,
    predict_options,
)

MAX_SHOWN = 20  # largest number of failed images to print


def predict(cfg: DictConfig) -> int:
    """Predict images and write the selected outputs, and score the predicted masks if `masks` names true masks.

    Outputs that the same command wrote earlier are kept, unless `overwrite` is true. If `export` is set, the model is
    exported instead, and no images are predicted.

    Returns:
        The number of images that could not be predicted; 0 after an export.

    Raises:
        HypercolumnsError: if a setting is invalid, or a file can't be written.
    """
    quiet_libraries()
    set_max_pixels(cfg.max_pixels)
    if cfg.export is not None:
        # Imported here, because the module imports parts of torch that a prediction does not need.
        from hypercolumns.stages.export import export

        export(cfg)
        return 0
    check_predict_settings(cfg)
    device, decoding = find_device(cfg.device), given_decoding(cfg)
    options = predict_options(cfg, device)
    annotations = annotation_files(cfg)
    with setting_prefix("model="):
        # The path is resolved now, because a run may replace a link `latest` in the path during the prediction.
        model = model_file.find_model(expand_path("model", cfg.model)).resolve()
        segmenter = Segmenter.load(model).to(device)
    segmenter.decoding = segmenter.override_decoding(decoding)
    configure_inference(segmenter, cfg)
    if cfg.window_overlap is not None:
        segmenter.extractor.set_window_overlap(cfg.window_overlap)
    sources = find_sources(str(cfg.images), [OUTPUTS[name].suffix for name in options.outputs])
    if any(source.video for source in sources):
        check_package("av", "video", f"images={cfg.images}")
    if len(sources) > 1 or sources[0].video:
        keep_freed_memory()  # for a single image, this would raise the peak memory by 100 MB and save little time
    out = expand_path("out", cfg.out)
    masks = None if cfg.masks is None else expand_path("masks", cfg.masks)
    _check_out(out, sources, options.outputs, masks)
    annotations.check(sources, segmenter.classes, segmenter.palette)
    truth = None if masks is None else GroundTruth(masks, sources, segmenter.scheme)
    for note in [] if truth is None else truth.notes:
        console.print(note, markup=False)
    changed_rules = {"decoding": decoding.settings()} if decoding.settings() else {}
    extraction = segmenter.extractor.settings() if segmenter.extractor.window_overlap is not None else {}
    settings = {"model": file_hash(model)[:16], **options.fingerprint(), **changed_rules, **extraction}
    with PredictionManifest(out, settings, options.output_settings(), cfg.overwrite) as manifest:
        manifest.check_sources(sources)
        _clear_tables(cfg, manifest, annotations)
        manifest.start()
        agreement = segmenter.extractor.agreement = OverlapAgreement(segmenter.classifier)
        summary = PredictionRun(segmenter, options, manifest, truth).run(sources)
        annotations.write(out, sources, summary.names, segmenter.classes, segmenter.palette)
        if truth is not None and (evaluation := truth.evaluation()).ids:
            _write_metrics(out, evaluation, {"model": str(cfg.model), "images": str(cfg.images), "masks": str(masks)})
    if agreement.pixels:
        console.print(agreement.message, markup=False)
    console.print(f"outputs in {out}", markup=False)
    _print_problems(summary)
    return len(summary.problems)


def _check_out(out: Path, sources: Sequence[Source], outputs: Sequence[str], masks: Path | None) -> None:
    """Raise HypercolumnsError if an output would replace an input or another output, or `out` is the folder of a run.

    Args:
        out: the folder for the outputs.
        sources: the images and videos to predict.
        outputs: the selected outputs, as keys of `OUTPUTS`.
        masks: the folder of true masks; None: there are none.
    """
    if (out / RUN_FILE).is_file():
        raise HypercolumnsError(
            f"out={out} is the folder of a run, and outputs would replace files of the run; choose another out="
        )
    files = [OUTPUTS[name].file(source.name) for source in sources for name in outputs]
    if len(set(files)) < len(files):
        double = next(file for file in files if files.count(file) > 1)
        raise HypercolumnsError(f"{out / double} would be the output of two images; rename one of them")
    written = {(out / file).resolve() for file in files}
    read = {Path(source.path).resolve() for source in sources}
    if masks is not None:
        read |= {find_mask([masks], source.name).resolve() for source in sources}
    if read & written:
        raise HypercolumnsError(f"out={out} would overwrite the input {min(read & written)}; choose another out=")


def _clear_tables(cfg: DictConfig, manifest: PredictionManifest, annotations: AnnotationFiles) -> None:
    """Remove the files of all images that an earlier prediction wrote: class fractions, metrics and annotations.

    Of the annotations, only the files that this prediction writes again are removed.

    Raises:
        HypercolumnsError: if `overwrite` is false and the folder has a file with the name of a file to write, but no
            earlier prediction that could have written the file.
    """
    exported = annotations.paths(manifest.out)
    fractions, metrics, counts = (manifest.out / name for name in (CLASS_FRACTIONS, METRICS, COUNTS))
    if not manifest.is_new:
        if metrics.is_file() and "boundary_width" in read_json(metrics):
            counts.unlink(missing_ok=True)
            metrics.unlink(missing_ok=True)
        remove_temporaries(fractions, *exported)
        for path in (fractions, *exported):
            path.unlink(missing_ok=True)
    elif not cfg.overwrite:
        own_tables = [fractions] * cfg.outputs.class_fractions + [metrics, counts] * (cfg.masks is not None)
        existing = [path for path in [*own_tables, *exported] if path.exists()]
        if existing:
            raise HypercolumnsError(f"{existing[0]} would be replaced; choose another out=, or set overwrite=true")


def _write_metrics(out: Path, evaluation: Evaluation, evaluated: dict[str, str]) -> None:
    """Write the metrics of all scored images to the folder `out`, and print them.

    Args:
        out: the folder for the outputs.
        evaluation: the confusion matrices of the scored images.
        evaluated: the settings `model`, `images` and `masks`, which the file of the metrics records.
    """
    evaluation.save(out / COUNTS)
    uncertainty = {"intervals": intervals(evaluation, None, BOOTSTRAP_SAMPLES, 0)}
    write_json(out / METRICS, evaluation.figures() | uncertainty | {"evaluated": evaluated})
    title = f"{len(evaluation.ids)} images against {evaluated['masks']}"
    print_metrics(read_json(out / METRICS), title, {"metrics": out / METRICS})


def _print_problems(summary: RunSummary) -> None:
    """Print how many images failed and, for up to 20 of them, why; print nothing if no image failed."""
    if not summary.problems:
        return
    more = len(summary.problems) - MAX_SHOWN
    shown = [*summary.problems[:MAX_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    lines = "\n  ".join([f"{len(summary.problems)} images could not be predicted:", *shown])
    console.print(lines.encode("utf-8", "replace").decode(), markup=False)  # some file names can't be encoded as UTF-8
