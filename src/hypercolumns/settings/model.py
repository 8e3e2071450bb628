"""Build backbones, classifiers, samplers and segmenters from a config."""

from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import AS_STORED, RGB, ImageDecoding, shown
from hypercolumns.io.files import expand_path
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import Sampler
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.data import resize
from hypercolumns.settings.inference import configure_inference
from hypercolumns.settings.machine import machine


def backbone(cfg: DictConfig, like: Backbone | None = None, decoding: ImageDecoding = AS_STORED) -> Backbone:
    """Build the backbone that the settings `cnn` describe.

    Args:
        cfg: the config.
        like: a backbone to copy the weights, mean and std from. None: the config names the weights, mean and std.
        decoding: the rules for reading the images, which decide how many channels the backbone takes.

    Returns:
        A new backbone.

    Raises:
        HypercolumnsError: if a setting is invalid, the network of `like` is not the network in the config, or `like`
            takes images with another number of channels.
    """
    settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
    channels = decoding.image_channels
    if like is None:
        return _new_backbone(cfg, settings, channels)
    if like.network != settings["network"]:
        raise HypercolumnsError(
            f"init_from={cfg.init_from} does not fit this command: the network of the model is {like.network}, but "
            f"this command has cnn.network={settings['network']}; choose another model, or choose the network of the "
            f"model by cnn=..."
        )
    if like.input_channels != channels:
        raise HypercolumnsError(
            f"init_from={cfg.init_from} does not fit this command: the model takes images of {like.input_channels} "
            f"channels, but data.channels={shown(decoding.channels)} gives images of {channels}; choose another "
            f"model, or set data.channels as for the model"
        )
    make = get_class(settings.pop("_target_"))
    normalisation = {name: like.get_buffer(name).flatten().tolist() for name in ("mean", "std")}
    with setting_prefix("cnn."):
        copied: Backbone = make(
            **settings | normalisation | {"weights": like.body.state_dict(), "input_channels": channels}
        )
    return copied


def _new_backbone(cfg: DictConfig, settings: dict[str, Any], channels: int) -> Backbone:
    """Build a backbone from the settings `cnn`, for images with `channels` channels.

    With cnn=timm, an error about the network mentions `cnn.model`, which users set, in place of `cnn.network`.
    """
    try:
        network: Backbone = part("cnn", settings, input_channels=channels)
    except HypercolumnsError as error:
        if "model" not in cfg.cnn:
            raise
        # Only conf/cnn/timm.yaml has `model`. Its users set cnn.model, from which cnn.network follows.
        raise HypercolumnsError(str(error).replace("cnn.network=timm/", "cnn.model=", 1)) from error
    frozen = not any(parameter.requires_grad for parameter in network.tap_parameters()[0])
    if channels > RGB and settings["weights"] is not None and frozen:
        console.print(
            "cnn: the first layer is frozen and was trained on RGB, so it can't tell the channels of data.channels "
            "after the third from red, green and blue; cnn.trainable=all trains it, and cnn.weights=null begins with "
            "random filters",
            markup=False,
        )
    return network


def classifier(cfg: DictConfig, channels: int, classes: int) -> Classifier:
    """Build a new classifier from the settings `classifier`.

    Args:
        cfg: the config; the setting `seed` decides the random weights.
        channels: the length of a hypercolumn.
        classes: the number of classes.

    Returns:
        A classifier with random weights. Its mean and std are not yet set, see `Classifier.set_statistics`.
    """
    with randomness.seeded(cfg.seed, "classifier"):
        new: Classifier = part("classifier", cfg.classifier, channels=channels, classes=classes)
    return new


def sampler(cfg: DictConfig) -> Sampler:
    """Build the sampler that the settings `sampler` describe."""
    sampler: Sampler = part("sampler", cfg.sampler)
    return sampler


def finished_model(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """Load the model that the setting `model` names, and apply `max_window_pixels` and `compile` to the model.

    Raises:
        HypercolumnsError: if the model can't be loaded, or its classes are not those of the data set.
    """
    segmenter = trained_model(cfg)
    check_classes(cfg, segmenter, images)
    return segmenter


def trained_model(cfg: DictConfig) -> Segmenter:
    """Load the model that the setting `model` names, and apply `max_window_pixels` and `compile` to the model.

    Raises:
        HypercolumnsError: if the model can't be loaded.
    """
    with setting_prefix("model="):
        segmenter = Segmenter.load(expand_path("model", cfg.model))
    configure_inference(segmenter, cfg)
    return segmenter


def check_classes(cfg: DictConfig, segmenter: Segmenter, images: DatasetIndex) -> None:
    """Check that the model that the setting `model` names has the classes of a data set.

    Args:
        cfg: the config.
        segmenter: the model.
        images: the data set.

    Raises:
        HypercolumnsError: if the classes differ.
    """
    if segmenter.classes != images.classes:
        path = expand_path("model", cfg.model)
        raise HypercolumnsError(
            f"model={path} has the classes {', '.join(segmenter.classes)}, but data {images.name} has the classes "
            f"{', '.join(images.classes)}; choose another model or, if the masks use the classes of the model, give "
            f"data.classes=<a file that lists these classes>"
        )


def guide(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """Load the model whose uncertainty decides which pixels stage extract samples (sampler=uncertainty).

    Returns:
        The model, on the device of the stage.

    Raises:
        HypercolumnsError: if `model` is null, the model can't be loaded, its classes are not those of the data set, or
            it was trained on images that were read by other rules.
    """
    if cfg.model is None:
        raise HypercolumnsError(
            f"sampler={cfg.sampler.kind} needs a trained model to choose pixels; give model=<the model.safetensors "
            f"of a finished run>, or choose another sampler"
        )
    segmenter = finished_model(cfg, images)
    if segmenter.decoding != images.decoding:
        rules, given = (decoding.settings() or "no rules" for decoding in (segmenter.decoding, images.decoding))
        raise HypercolumnsError(
            f"model={cfg.model} was trained on images that are read by {rules}, but this command reads them by "
            f"{given}; set data.range, data.channels and data.page as for the model, or choose another model"
        )
    return segmenter.to(machine(cfg).device())


def extractor(cfg: DictConfig, backbone: Backbone, resize: tuple[int, int] | None = None) -> HypercolumnExtractor:
    """Build the extractor that computes hypercolumns from the maps of a backbone.

    Args:
        cfg: the config.
        backbone: the backbone.
        resize: (height, width) in pixels to which images are resized for the backbone; None: no resizing.

    Returns:
        An extractor with `alignment` and, if the stage uses it, `max_window_pixels` of the config.
    """
    limit = {"max_window_pixels": cfg.max_window_pixels} if "max_window_pixels" in cfg else {}
    return HypercolumnExtractor(backbone, cfg.alignment, resize, **limit)


def segmenter(cfg: DictConfig, backbone: Backbone, classifier: Classifier, images: DatasetIndex) -> Segmenter:
    """Build the complete model from a backbone and a classifier.

    Args:
        cfg: the config.
        backbone: the backbone.
        classifier: the classifier of the hypercolumns of this backbone.
        images: the data set, which gives the classes, their colours, and the rules for reading images and masks.

    Returns:
        The segmenter. It contains the given backbone and classifier themselves, not copies of them.
    """
    hypercolumns = extractor(cfg, backbone, resize(cfg))
    return Segmenter(hypercolumns, classifier, images.classes, images.palette, images.decoding, images.file_scheme)


def settings_of(segmenter: Segmenter) -> dict[str, Any]:
    """Return what must be equal in two models before one may use the classifier weights of the other.

    These are the fingerprint of the backbone, the settings of the extractor, the classes, and the settings of the
    classifier without `dropout`.
    """
    head = segmenter.classifier
    return {
        "cnn": segmenter.backbone.fingerprint(),
        **segmenter.extractor.settings(),
        "classes": segmenter.classes,
        "classifier": {
            name: value for name, value in {"kind": head.kind, **head.settings()}.items() if name != "dropout"
        },
    }
