"""Models whose weights a command begins with: those that `init_from` and `cnn.weights` name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import RGB, ImageDecoding, shown
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone, networks
from hypercolumns.models.backbones.tap_names import split_taps
from hypercolumns.models.backbones.weights import is_weights_name
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import plain


@dataclass(frozen=True)
class NamedModel:
    """A model that a setting names. Its file is loaded at the first use of `segmenter`.

    Attributes:
        prefix: the text before the path in messages, such as `init_from=`.
        path: the path of the model's file.
    """

    prefix: str
    path: Path

    def __str__(self) -> str:
        """Name the model for messages."""
        return f"{self.prefix}{self.path}"

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model."""
        with setting_prefix(self.prefix):
            return Segmenter.load(self.path)

    @cached_property
    def hash(self) -> str:
        """The hash of the model's file."""
        return file_hash(self.path)[:16]


def named_model(cfg: DictConfig, name: str, value: str) -> NamedModel:
    """Load the model that a setting names, and check that its network is the one in the config.

    Args:
        cfg: the config.
        name: the name of the setting, such as `init_from`.
        value: its value: the path of a model file, of a checkpoint, or of a run's folder.

    Returns:
        The model.

    Raises:
        HypercolumnsError: if the model can't be loaded, or has another network.
    """
    with setting_prefix(f"{name}="):
        path = model_file.find_model(expand_path(name, value))
    model = NamedModel(f"{name}=", path)
    network = model.segmenter.backbone.network
    if network != cfg.cnn.network:
        raise HypercolumnsError(
            f"{model} does not fit this command: the network of the model is {network}, but this command has "
            f"cnn.network={cfg.cnn.network}; choose another model, or choose the network of the model by cnn=..."
        )
    return model


def weights_model(cfg: DictConfig) -> NamedModel | None:
    """Return the model that `cnn.weights` names; None if the setting is null, or names weights alone."""
    return named_model(cfg, "cnn.weights", cfg.cnn.weights) if _weights_are_a_model(cfg) else None


def show_weights_model(cfg: DictConfig) -> None:
    """Print which model `cnn.weights` names, before work with its backbone begins. If it names none, print nothing."""
    if _weights_are_a_model(cfg):
        path = model_file.find_model(expand_path("cnn.weights", cfg.cnn.weights))
        console.print(f"cnn: the backbone of the model {path}, with its mean and std", markup=False)


def _weights_are_a_model(cfg: DictConfig) -> bool:
    weights = cfg.cnn.get("weights")
    if not isinstance(weights, str) or not model_file.is_model(expand_path("cnn.weights", weights)):
        return False
    return not is_weights_name(cfg.cnn.network, weights)  # the name of weights may be that of a folder, too


def copy_backbone(cfg: DictConfig, model: NamedModel, decoding: ImageDecoding) -> Backbone:
    """Build the backbone that the settings `cnn` describe, with the weights, mean and std of a model's backbone.

    Args:
        cfg: the config. Its taps may be other taps than those of the model.
        model: the model, which has the network of the config.
        decoding: the rules for reading the images, which decide how many channels the backbone takes. If the model
            takes RGB, its filters are adapted to another number of channels, see `models.backbones.widening`.

    Returns:
        The backbone.

    Raises:
        HypercolumnsError: if a setting is invalid, if the model lacks layers of the taps, or takes another number of
            channels and not RGB.
    """
    source, channels = model.segmenter.backbone, decoding.image_channels
    settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
    if source.input_channels not in (channels, RGB):
        raise HypercolumnsError(
            f"{model} does not fit this command: the model takes images of {source.input_channels} channels, but "
            f"data.channels={shown(decoding.channels)} gives images of {channels}; choose another model, or set "
            f"data.channels as for the model"
        )
    make = get_class(settings.pop("_target_"))
    with setting_prefix("cnn."):
        taps = settings["taps"] or networks.default_taps(source.network)
        modules = [name for tap in split_taps(taps)[0] for name in tap]
        if lacking := [name for name in modules if not source.tapped.holds(name)]:
            raise HypercolumnsError(
                f"{model} does not fit this command: the model holds only the layers up to its last tap, "
                f"{source.tap_modules[-1][-1]}, and lacks {lacking[0]} of cnn.taps; choose other taps, or another model"
            )
        for name in ("mean", "std"):
            given = settings[name]
            if source.input_channels == channels or not isinstance(given, list) or len(given) != channels:
                settings[name] = source.get_buffer(name).flatten().tolist()
        copied: Backbone = make(**settings | {"weights": source.body.state_dict(), "input_channels": channels})
    return copied
