"""Stage annotate: label images in a page of the browser, while a classifier trains on the labels."""

import os
import shlex
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from hypercolumns.annotation import PixelTrainer
from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules, OwnMask
from hypercolumns.annotation.labels.label_store import LabelStore, address_path, locked_folder
from hypercolumns.annotation.serving.image_list import ImageList, ImageToLabel
from hypercolumns.annotation.serving.kept_address import KeptAddress
from hypercolumns.annotation.serving.listener import check_installed, listen, serve
from hypercolumns.annotation.serving.requests import Address
from hypercolumns.annotation.serving.session import AnnotationSession
from hypercolumns.data import DatasetIndex
from hypercolumns.io.files import remove
from hypercolumns.runs.run import Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings import annotation, model
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import command, local_path
from hypercolumns.settings.data import resize
from hypercolumns.settings.fingerprint import result_settings, stage_dir
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import origin

MAPS = ".maps-"  # how the folder of maps in the run's folder begins; it lasts as long as the session


def annotate(cfg: DictConfig) -> Run | None:
    """Serve a page in which the images of a folder are labelled, until Ctrl-C; return the run with the model.

    Masks are written as they are painted. If the command is repeated, it goes on with the masks that are there. The
    result is None if nothing was labelled, so that there is no model.
    """
    check_settings(cfg)
    quiet_libraries()
    check_installed()
    images = annotation.images_to_label(cfg)
    masks = annotation.mask_folder(cfg)
    with locked_folder(masks):
        files = annotation.label_files(cfg, images)
        own = [of_image.own_mask() for of_image in files]
        rules = annotation.label_rules(cfg, images, own)
        extractor = model.extractor(cfg, model.backbone(cfg, decoding=images.decoding), resize(cfg))
        fingerprint = {
            "data": rules.scheme.fingerprint() | {"decoding": images.decoding.settings()},
            "masks": str(masks.resolve()),
            "cnn": extractor.backbone.fingerprint(),
            **extractor.settings(),
            **result_settings(cfg, "annotate"),
        }
        with Run.begin(stage_dir(cfg, images, "annotate"), fingerprint, origin(cfg)) as run:
            with _maps_folder(run.folder) as maps:
                trainer = PixelTrainer(
                    extractor,
                    rules.scheme.classes,
                    rules.scheme.palette,
                    hidden=cfg.hidden,
                    map_memory=int(cfg.map_memory * (1 << 30)),
                    map_folder=maps,
                    decoding=images.decoding,
                    scheme=rules.scheme,
                    seed=cfg.seed,
                )
                session = _session(run, images, files, own, rules, trainer)
                photos = [pair.image for pair in images.splits["train"]]
                decoding = images.decoding.settings()
                kept = KeptAddress.of(address_path(masks), photos, decoding, rules.scheme.classes)
                opened, address = listen(cfg.host, cfg.port, kept)
                serve(session, opened, address, lambda: _announce(cfg, address, len(files)))
            _finish(cfg, run, images, session)
    return run if run.finished else None


@contextmanager
def _maps_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for maps in that of a run, and remove those that a kill has left there."""
    for left in folder.glob(f"{MAPS}*"):
        remove(left)
    with TemporaryDirectory(dir=folder, prefix=MAPS) as maps:
        yield Path(maps)


def _session(
    run: Run,
    images: DatasetIndex,
    files: Sequence[LabelFiles],
    own: Sequence[OwnMask | None],
    rules: LabelRules,
    trainer: PixelTrainer,
) -> AnnotationSession:
    """Return a session, which is not started yet.

    Args:
        run: where the model is saved.
        images: the images to label.
        files: the files of each image's labels.
        own: the mask of each image that this program wrote; None for others.
        rules: how masks are read and written.
        trainer: the trainer.
    """
    listed = [ImageToLabel(pair.id, pair.image, of) for pair, of in zip(images.splits["train"], files, strict=True)]
    return AnnotationSession(
        ImageList(listed, images.decoding),
        LabelStore(files, rules, _say),
        trainer,
        *annotation.count_labels(images, own, rules),
        run.save,
        _say,
        run.model if run.model.is_file() else None,
    )


def _say(line: str) -> None:
    console.print(line, markup=False)


def _announce(cfg: DictConfig, address: Address, count: int) -> None:
    """Print the URL, and open it in the browser if there is a screen."""
    console.print(f"annotate: {count} images; the page is at", markup=False)
    print(address.url, flush=True)  # the console would break the line
    if not address.is_local:
        _say(f"warning: host={cfg.host} lets everyone who has this URL change the masks; it is not encrypted")
    _say("Ctrl-C ends it; masks are saved as you paint")
    screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if cfg.open and screen:
        webbrowser.open(address.url)


def _finish(cfg: DictConfig, run: Run, images: DatasetIndex, session: AnnotationSession) -> None:
    """Mark the run as finished, and say how to go on."""
    labelled = session.labelled_images
    _say(f"{'labelled':>9}  {len(labelled)} of {len(images.splits['train'])} images, in {annotation.mask_folder(cfg)}")
    if run.model.is_file():
        run.mark_finished({"stage": cfg.stage, "images": 0, "miou": None, "labelled": len(labelled)})
        images_of = local_path(cfg.data, "images") if cfg.data.root is None else Path(cfg.data.root) / cfg.data.images
        predict = ["python", "predict.py", f"model={run.folder}", f"images={images_of}", "out=predicted"]
        _say(f"{'model':>9}  {run.model}")
        _say(f"{'predict':>9}  {shlex.join(predict)}")
    if len(labelled) > 1:
        needed = annotation.training_overrides(cfg, images)
        _say(f"{'train':>9}  {command('all', 'experiment=frozen', *needed)}")
        if run.model.is_file():
            start = [f"init_from={run.folder}", f"classifier.hidden={cfg.hidden}"]
            tune = command("train", *start, *needed, without=("cnn.weights",))  # the model brings its own
            _say(f"{'fine-tune':>9}  {tune}")
    else:
        _say(f"{'train':>9}  label at least two images: one to train on, and one to validate on")
