"""The model that stage train starts from, and what of it the training keeps.

The backbone always comes along. The classifier comes along if it fits, and then the outputs of all classes that the
data set has too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import shown
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier, ClassTransfer
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.overrides import format_mapping, format_override, quote_word
from hypercolumns.runs.lookup import differences
from hypercolumns.runtime.progress import console
from hypercolumns.settings import compose, model
from hypercolumns.settings.named_model import NamedModel, named_model
from hypercolumns.settings.schema import setting_of

SCRATCH = "scratch"  # value of `init_from` for a new classifier


@dataclass(frozen=True)
class Start:
    """A model to start from, and the classes of the data set.

    Attributes:
        model: the model.
        images: the data set.
        obstacles: why its classifier does not fit this command; empty: it fits.
        remedy: the overrides with which the classifier fits, as one text for a shell; empty: it fits, or no override
            makes it fit.
    """

    model: NamedModel
    images: DatasetIndex
    obstacles: tuple[str, ...]
    remedy: str = ""

    @property
    def transfer(self) -> ClassTransfer:
        """The classes of the model and those of the data set."""
        return ClassTransfer(self.model.segmenter.classes, self.images.classes)

    @property
    def is_whole(self) -> bool:
        """Whether the whole classifier comes along, with an output for each class of the data set."""
        return not self.obstacles and not self.transfer.added

    def classifier(self, cfg: DictConfig) -> Classifier:
        """Return a new classifier with the weights of the model's classifier, which must fit."""
        source = self.model.segmenter
        classifier = model.classifier(cfg, source.backbone.channels, len(self.images.classes))
        self.transfer.copy_weights(source.classifier, classifier)
        mean, std = (classifier.get_buffer(name).clone() for name in ("mean", "std"))
        classifier.set_statistics(mean, std)  # replaces standard deviations of 0, which the model file may contain
        return classifier

    def record(self) -> dict[str, Any]:
        """Describe what the training keeps, for the fingerprint of the run."""
        record = {"model": self.model.hash, "classifier": "new" if self.obstacles else "kept"}
        return record if self.obstacles else {**record, **self._classes()}

    def _classes(self) -> dict[str, list[str]]:
        return {what: getattr(self.transfer, what) for what in ("kept", "added", "dropped")}

    def show(self, cfg: DictConfig) -> None:
        """Print what the training keeps of the model, and what is new."""
        segmenter, transfer = self.model.segmenter, self.transfer
        lines = {"backbone": "kept, with its mean and std; cnn.weights is not read"}
        channels = self.images.decoding.image_channels
        if segmenter.backbone.input_channels != channels:
            lines["backbone"] += f"; its filters for RGB are adapted to {channels} channels"
        if segmenter.decoding != self.images.decoding:
            rules, own = (decoding.settings() or "no rules" for decoding in (self.images.decoding, segmenter.decoding))
            lines["images"] = f"read by {rules}; those that the model was trained on were read by {own}"
        if self.obstacles:
            keep = f"add {self.remedy}" if self.remedy else "set these settings as for the model"
            weights = format_override("cnn.weights", self.model.path)
            lines["classifier"] = (
                f"new, because {'; '.join(self.obstacles)}; to keep it, {keep}; to pretrain a new one with this "
                f"backbone, set {weights} and leave out init_from"
            )
        elif not (transfer.added or transfer.dropped):
            lines["classifier"] = f"kept, with the outputs of all {len(transfer.kept)} classes"
        elif transfer.kept:
            lines["classifier"] = "kept, apart from the outputs of the classes below"
        else:
            lines["classifier"] = "kept, but all of its outputs are new, because no class has a name that the model has"
        if not self.obstacles and (transfer.added or transfer.dropped):
            lines |= {what: ", ".join(names) for what, names in self._classes().items() if names}
        if transfer.added and transfer.dropped:
            lines |= _renames(transfer, cfg.data.get("map"))
        if segmenter.second_pass is not None:
            lines["second pass"] = "left out, because it is for the trained weights; train another with stage=refine"
        for name, text in lines.items():
            console.print(f"{name:>12}  {text}", markup=False)


def named_start(cfg: DictConfig) -> NamedModel | None:
    """Return the model that `init_from` names; None if `init_from` is null or scratch.

    Raises:
        HypercolumnsError: if the model can't be loaded or has another network, if the command also gives `cnn.weights`,
            or if init_from=scratch is combined with `wise_ft_alpha`.
    """
    if cfg.wise_ft_alpha is not None and cfg.init_from == SCRATCH:
        raise HypercolumnsError(
            f"wise_ft_alpha={cfg.wise_ft_alpha} averages the trained weights with those of the model that the training "
            f"starts from, but init_from=scratch starts without a model; use wise_ft_alpha=null, or leave out "
            f"init_from=scratch"
        )
    if cfg.init_from in (None, SCRATCH):
        return None
    if any(setting_of(override) == "cnn.weights" for override in compose.overrides()):
        raise HypercolumnsError(
            f"cnn.weights has no effect with init_from={cfg.init_from}, because the model brings its own backbone; "
            f"leave out cnn.weights or, to keep only the backbone that it names, init_from"
        )
    return named_model(cfg, "init_from", cfg.init_from)


def start_from(cfg: DictConfig, named: NamedModel, backbone: Backbone, images: DatasetIndex) -> Start:
    """Compare a model with the config and the data set.

    Args:
        cfg: the config of stage train.
        named: the model to start from.
        backbone: the backbone to train, which has the weights of the model.
        images: the data set.

    Returns:
        The start.

    Raises:
        HypercolumnsError: if a part of the classifier would be new, but `init_from` is null, or `wise_ft_alpha` is set.
    """
    classifier = model.classifier(cfg, backbone.channels, len(images.classes))
    wanted = model.segmenter(cfg, backbone, classifier, images)
    different = differences(_settings(named.segmenter), _settings(wanted)).values()
    obstacles = (*_tap_differences(named.segmenter.backbone, backbone), *different)
    start = Start(named, images, obstacles, _remedy(named.segmenter, wanted))
    if cfg.init_from is None and not start.is_whole:  # its run.json says that it fits, so the file is another one
        why = "; ".join(start.obstacles) or f"it has the classes {', '.join(named.segmenter.classes)}"
        raise HypercolumnsError(f"{named} does not fit this command: {why}; name a model by init_from=")
    if cfg.wise_ft_alpha is not None and not start.is_whole:
        new = start.obstacles[0] if start.obstacles else f"the model lacks {', '.join(start.transfer.added)}"
        keep = f", add {start.remedy}" if start.remedy else ""
        raise HypercolumnsError(
            f"wise_ft_alpha={cfg.wise_ft_alpha} averages the trained weights with those of {named}, but a part of the "
            f"classifier is new, because {new}; use wise_ft_alpha=null{keep}, or choose another model"
        )
    return start


def _settings(segmenter: Segmenter) -> dict[str, Any]:
    """Return the settings that decide whether a classifier fits another model, apart from the taps."""
    head = segmenter.classifier
    of_head: Mapping[str, Any] = {"kind": head.kind, **head.settings()}
    return {
        "input channels": segmenter.backbone.input_channels,
        **segmenter.extractor.settings(),
        "classifier": {name: value for name, value in of_head.items() if name != "dropout"},
    }


def _remedy(own: Segmenter, wanted: Segmenter) -> str:
    """Return the overrides with which a command gets a model into which the classifier of another model fits.

    Args:
        own: the model with the classifier.
        wanted: the model that the command asks for without these overrides.

    Returns:
        The overrides as one text, quoted for a shell. "" if none differs, or if the two take other numbers of channels,
        which depend on the files of the images.
    """
    if own.backbone.input_channels != wanted.backbone.input_channels:
        return ""
    settings, others = _overrides(own), _overrides(wanted)
    other_head = settings["classifier"] != others["classifier"]  # whose file may have other values of its own
    return " ".join(
        format_override(name, value)
        for name, value in settings.items()
        if others.get(name) != value or (other_head and name.startswith("classifier."))
    )


def _overrides(segmenter: Segmenter) -> dict[str, Any]:
    """Return the settings of the command line that decide whether a classifier fits another model."""
    backbone, head = segmenter.backbone, segmenter.classifier
    return {
        "cnn.taps": [modules[0] if len(modules) == 1 else list(modules) for modules in backbone.tap_modules],
        "cnn.context": [context.name for context in backbone.contexts],
        "cnn.scales": [float(scale) for scale in backbone.tapped.scales],
        **segmenter.extractor.settings(),
        "classifier": head.kind,
        **{f"classifier.{name}": value for name, value in head.settings().items() if name != "dropout"},
    }


def _tap_differences(own: Backbone, wanted: Backbone) -> list[str]:
    """Say in which taps the backbone of a model and the one that a command wants differ."""
    taps, others = ([tap.name for tap in backbone.taps] for backbone in (own, wanted))
    if taps == others:
        return []
    parts = [
        f"{who} the taps {shown(more)}"
        for who, more in (
            ("only the model has", [tap for tap in taps if tap not in others]),
            ("only this command has", [tap for tap in others if tap not in taps]),
        )
        if more
    ]
    return [", ".join(parts) or "its taps are in another order"]


def _renames(transfer: ClassTransfer, given: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return a hint by the name "rename" if classes of the data set have nearly the names of classes of the model."""
    similar = transfer.similar()
    mapping = format_mapping(similar) if similar else None
    if mapping is None:
        return {}
    pairs = ", ".join(f"{name} and {old}" for name, old in similar.items())
    setting = quote_word(f"data.map={mapping}") + (", with the entries that it has already" if given else "")
    return {"rename?": f"{pairs}; if they mean the same, set {setting}, to keep the outputs"}
