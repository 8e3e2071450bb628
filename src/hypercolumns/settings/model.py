"""Build backbones, classifiers, samplers and segmenters from a config."""

import math
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import AS_STORED, RGB, ImageDecoding
from hypercolumns.io.files import expand_path
from hypercolumns.models.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, networks
from hypercolumns.models.backbones.fine_tuning import trainable_taps
from hypercolumns.models.backbones.tap_names import split_taps
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import CellGrid, RegularGrid
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import Sampler
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.data import resize
from hypercolumns.settings.inference import configure_inference
from hypercolumns.settings.machine import machine
from hypercolumns.settings.named_model import NamedModel, copy_backbone, weights_model

EXAMPLES = "cnn=resnet18, cnn=convnext_tiny or cnn=timm cnn.model=vit_small_patch14_dinov2"  # of networks, in messages
MAX_UNTOLD_MULTIPLE = 32  # pixels: a larger multiple is reported
MIN_SPREAD = 0.25  # in strides of the map: a larger `Tap.path_spread` is reported


def backbone(cfg: DictConfig, like: NamedModel | None = None, decoding: ImageDecoding = AS_STORED) -> Backbone:
    """Build the backbone that the settings `cnn` describe.

    Args:
        cfg: the config.
        like: the model to copy the weights, mean and std from. None: the model that `cnn.weights` names or, if it names
            none, the config names the weights, mean and std.
        decoding: the rules for reading the images, which decide how many channels the backbone takes.

    Returns:
        A new backbone.

    Raises:
        HypercolumnsError: if a setting is invalid, or the backbone of the model does not fit the config.
    """
    channels = decoding.image_channels
    like = like or weights_model(cfg)
    if like is None:
        settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
        network = _new_backbone(cfg, settings, channels)
        is_for_rgb = settings["weights"] is not None
    else:
        network = copy_backbone(cfg, like, decoding)
        is_for_rgb = like.segmenter.backbone.input_channels == RGB
    _check_crops(cfg, network)
    _say_what_is_meant(cfg, network)
    if channels > RGB and is_for_rgb and not any(first.requires_grad for first in network.tapped.layer_groups()[0]):
        console.print(
            "cnn: the first layer is frozen and was trained on RGB, so it can't tell the channels of data.channels "
            "after the third from red, green and blue; cnn.trainable=all trains it, and cnn.weights=null begins with "
            "random filters",
            markup=False,
        )
    return network


def _check_crops(cfg: DictConfig, network: Backbone) -> None:
    """Raise HypercolumnsError if the network takes one size of images, and stage train would crop or scale images."""
    augment = cfg.get("augment")
    if network.fixed_size is None or not augment or (augment.crop is None and augment.scale is None):
        return
    height, width = network.fixed_size
    raise HypercolumnsError(
        f"augment.crop and augment.scale do not fit {network.network}, which takes images of {width}x{height} "
        f"only: parts of images would be stretched in training, and whole images squeezed afterwards; set "
        f"resize=[{height},{width}] augment.crop=null augment.scale=null"
    )


def _say_what_is_meant(cfg: DictConfig, network: Backbone) -> None:
    """Print where the network leaves open what a setting means: the size of images, and the centres of cells."""
    if network.fixed_size is not None:
        height, width = network.fixed_size
        console.print(f"cnn: {network.network} takes images of {width}x{height} only, so all are resized", markup=False)
    elif network.multiple > MAX_UNTOLD_MULTIPLE:
        console.print(
            f"cnn: {network.network} takes sides that are multiples of {network.multiple} pixels; other images are "
            f"continued by repeating their last row and column, and attention sees that part too; a resize to such a "
            f"size avoids it",
            markup=False,
        )
    spreads = {tap: tap.path_spread / max(map(_stride, tap.axes)) for tap in network.taps if tap.path_spread}
    widest = max(spreads, key=lambda tap: spreads[tap], default=None)
    if cfg.alignment == "exact" and widest is not None and spreads[widest] > MIN_SPREAD:
        console.print(
            f"cnn: the paths that join in tap {widest.name} are centred up to {widest.path_spread:g} pixels apart; "
            f"alignment=exact uses the mean of their centres",
            markup=False,
        )


def _stride(axis: CellGrid) -> float:
    """Return the stride of regular cells in pixels; infinity for others."""
    return axis.stride if isinstance(axis, RegularGrid) else math.inf


def _new_backbone(cfg: DictConfig, settings: dict[str, Any], channels: int) -> Backbone:
    """Build a backbone from the settings `cnn`, for images with `channels` channels.

    An error about the network recommends others by the settings that choose them. With cnn=timm, it mentions
    `cnn.model`, which users set, in place of `cnn.network`.
    """
    try:
        network: Backbone = part("cnn", settings, input_channels=channels)
    except HypercolumnsError as error:
        message = str(error).replace(networks.EXAMPLES, EXAMPLES)
        if "model" in cfg.cnn:  # of conf/cnn/timm.yaml: users set cnn.model, from which cnn.network follows
            message = message.replace("cnn.network=timm/", "cnn.model=", 1)
        raise HypercolumnsError(message) from error
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


def check_model(cfg: DictConfig) -> None:
    """Check the settings of the classifier, and `cnn.trainable` if `cnn.taps` lists the taps, before any work starts.

    Raises:
        HypercolumnsError: if a setting is invalid.
    """
    classifier(cfg, channels=8, classes=2)  # the check does not depend on these numbers
    taps = plain(cfg.cnn).get("taps")
    if isinstance(taps, list):
        with setting_prefix("cnn."):
            trainable_taps(cfg.cnn.trainable, len(split_taps(taps)[0]), cfg.cnn.network)


def check_fine_tuning(cfg: DictConfig) -> None:
    """Check how stage train trains the backbone, for a command that runs other stages before.

    What a network allows is known only when it is built. It is built here with random weights, for RGB.

    Raises:
        HypercolumnsError: if a setting is invalid, or does not suit the network.
    """
    settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
    any_values = {"weights": None, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    _check_crops(cfg, _new_backbone(cfg, settings | any_values, RGB))


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
    check_classes(segmenter, images, f"model={expand_path('model', cfg.model)}")
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


def check_classes(segmenter: Segmenter, images: DatasetIndex, named: str) -> None:
    """Check that a model has the classes of a data set.

    Args:
        segmenter: the model.
        images: the data set.
        named: the setting that names the model, with its value, such as model=model.safetensors.

    Raises:
        HypercolumnsError: if the classes differ.
    """
    if segmenter.classes != images.classes:
        raise HypercolumnsError(
            f"{named} has the classes {', '.join(segmenter.classes)}, but data {images.name} has the classes "
            f"{', '.join(images.classes)}; choose another model or, if the masks use the classes of the model, give "
            f"data.classes=<a file that lists these classes>"
        )


def check_decoding(segmenter: Segmenter, images: DatasetIndex, named: str) -> None:
    """Check that a data set's images are read by the rules of the images that a model was trained on.

    Args:
        segmenter: the model.
        images: the data set.
        named: the setting that names the model, with its value.

    Raises:
        HypercolumnsError: if they are read by other rules.
    """
    if segmenter.decoding != images.decoding:
        rules, given = (decoding.settings() or "no rules" for decoding in (segmenter.decoding, images.decoding))
        raise HypercolumnsError(
            f"{named} was trained on images that are read by {rules}, but this command reads them by {given}; set "
            f"data.range, data.channels and data.page as for the model, or choose another model"
        )


def folder_name(cfg: DictConfig, segmenter: Segmenter) -> str:
    """Return the name <cnn> in the path of a run that only reads a model: `cnn.name`, if the model has this network."""
    network = segmenter.backbone.network
    return str(cfg.cnn.name if cfg.cnn.network == network else network.replace("/", "-"))


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
    check_decoding(segmenter, images, f"model={cfg.model}")
    return segmenter.to(machine(cfg).device())


def extractor(cfg: DictConfig, backbone: Backbone, resize: tuple[int, int] | None = None) -> HypercolumnExtractor:
    """Build the extractor that computes hypercolumns from the maps of a backbone.

    Args:
        cfg: the config.
        backbone: the backbone.
        resize: (height, width) in pixels to which images are resized for the backbone; None: no resizing.

    Returns:
        An extractor with `alignment`, `window_overlap` and, if the stage uses it, `max_window_pixels` of the config.
    """
    limit = {"max_window_pixels": cfg.max_window_pixels} if "max_window_pixels" in cfg else {}
    return HypercolumnExtractor(backbone, cfg.alignment, resize, **limit, window_overlap=cfg.window_overlap)


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
