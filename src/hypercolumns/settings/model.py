"""From a config to backbones, classifiers and finished models."""

from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import randomness
from hypercolumns.samplers import Sampler
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.data import resize
from hypercolumns.settings.inference import configure_inference
from hypercolumns.settings.machine import machine


def backbone(cfg: DictConfig, like: Backbone | None = None) -> Backbone:
    """The backbone that the config names.

    Args:
        cfg: the config.
        like: a backbone whose weights and normalisation it gets, in place of those that the config names.

    Raises:
        HypercolumnsError: if `like` is of another network.
    """
    settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
    if like is None:
        return _new_backbone(cfg, settings)
    if like.network != settings["network"]:
        raise HypercolumnsError(
            f"init_from={cfg.init_from} does not fit: cnn.network is {like.network}, this command has "
            f"{settings['network']}; choose another model, or its cnn"
        )
    make = get_class(settings.pop("_target_"))
    own = {name: like.get_buffer(name).flatten().tolist() for name in ("mean", "std")}
    with setting_prefix("cnn."):
        copied: Backbone = make(**settings | own | {"weights": like.body.state_dict()})
    return copied


def _new_backbone(cfg: DictConfig, settings: dict[str, Any]) -> Backbone:
    try:
        network: Backbone = part("cnn", settings)
    except HypercolumnsError as error:
        if "model" not in cfg.cnn:
            raise
        # The setting that names a network of timm.
        raise HypercolumnsError(str(error).replace("cnn.network=timm/", "cnn.model=", 1)) from error
    return network


def classifier(cfg: DictConfig, channels: int, classes: int) -> Classifier:
    """A new classifier, its weights decided by the seed."""
    with randomness.seeded(cfg.seed, "classifier"):
        new: Classifier = part("classifier", cfg.classifier, channels=channels, classes=classes)
    return new


def sampler(cfg: DictConfig) -> Sampler:
    """The sampler of pixels."""
    made: Sampler = part("sampler", cfg.sampler)
    return made


def finished_model(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """The model that the setting `model` names.

    Raises:
        HypercolumnsError: unless it has the classes of the images.
    """
    path = expand_path("model", cfg.model)
    with setting_prefix("model="):
        segmenter = Segmenter.load(path)
    if segmenter.classes != images.classes:
        raise HypercolumnsError(
            f"model={path} has the classes {', '.join(segmenter.classes)}, data {images.name} "
            f"{', '.join(images.classes)}; give data.classes=<a file of the model's classes> if the masks hold those"
        )
    configure_inference(segmenter, cfg)
    return segmenter


def guide(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """The model that tells a sampler, in stage extract, where it is unsure."""
    if cfg.model is None:
        raise HypercolumnsError(
            f"sampler={cfg.sampler.kind} asks a model which pixels to take; give model=<the model.safetensors "
            f"of a finished run>, or choose another sampler"
        )
    return finished_model(cfg, images).to(machine(cfg).device())


def extractor(cfg: DictConfig, backbone: Backbone, resize: tuple[int, int] | None = None) -> HypercolumnExtractor:
    """The hypercolumns of a backbone.

    Args:
        cfg: the config.
        backbone: the backbone.
        resize: (height, width) at which it sees the images; None: at their own.
    """
    limit = {"max_window_pixels": cfg.max_window_pixels} if "max_window_pixels" in cfg else {}
    return HypercolumnExtractor(backbone, cfg.alignment, resize, **limit)


def segmenter(cfg: DictConfig, backbone: Backbone, classifier: Classifier, images: DatasetIndex) -> Segmenter:
    """The model of these parts, with the classes and colours of the images."""
    return Segmenter(extractor(cfg, backbone, resize(cfg)), classifier, images.classes, images.palette)


def settings_of(segmenter: Segmenter) -> dict[str, Any]:
    """What a model is, in the words of settings: for comparison with a command's."""
    head = segmenter.classifier
    return {
        "cnn": segmenter.backbone.fingerprint(),
        **segmenter.extractor.settings(),
        "classes": segmenter.classes,
        "classifier": {
            name: value for name, value in {"kind": head.kind, **head.settings()}.items() if name != "dropout"
        },
    }
