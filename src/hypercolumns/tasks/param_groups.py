"""Groups of parameters: which learn at another rate than the classifier, and which without weight decay."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from hypercolumns.errors import ArgumentError, check_bool, check_fraction, check_number
from hypercolumns.models.backbones import Backbone

CLASSIFIER, BACKBONE = "classifier", "backbone"
MAX_LR = 1e30  # a rate: what optimisers make of it, such as ten times as much, must be a float32 yet


class ParamGroup(NamedTuple):
    """Parameters with options of their own; `factor` is what their rate is multiplied by."""

    options: dict[str, Any]
    factor: float = 1.0


@dataclass(frozen=True)
class ParamGroupConfig:
    """How layers differ in what the optimiser does to them.

    Attributes:
        backbone_lr: the learning rate of the backbone's layers; None for that of the classifier.
        layer_decay: what the rate of the layers of a tap is, of that of the tap after it, from above 0 to 1; None for
            1. The last tap's have the backbone's rate: the nearer to the image, the more general is what layers see,
            and the less there is to change (Howard and Ruder, arXiv:1801.06146).
        no_decay_norm_and_bias: exclude biases and normalisation parameters from weight decay.
    """

    backbone_lr: float | None = None
    layer_decay: float | None = None
    no_decay_norm_and_bias: bool = False

    def __post_init__(self) -> None:
        """Raise ArgumentError for values that can't be."""
        if self.backbone_lr is not None:
            check_number("backbone_lr", self.backbone_lr, below=MAX_LR)
        if self.layer_decay is not None:
            check_fraction("layer_decay", self.layer_decay)
        if self.layer_decay == 0:
            raise ArgumentError("layer_decay=0 must be above 0, or null; the backbone's trainable=n freezes layers")
        check_bool("no_decay_norm_and_bias", self.no_decay_norm_and_bias)

    def groups(self, classifier: nn.Module, backbone: Backbone | None = None) -> list[ParamGroup]:
        """The parameters that are trained, in groups with names, the classifier's first.

        All in one without a name where nothing differs. The order is that of the modules: an optimiser's state, which a
        checkpoint holds, is by number.
        """
        by_name: dict[tuple[str, bool], ParamGroup] = {}
        for name, factor, parameter in self._each(classifier, backbone):
            undecayed = self.no_decay_norm_and_bias and parameter.ndim <= 1
            if (name, undecayed) not in by_name:
                options: dict[str, Any] = {"params": [], "name": f"{name}_biases" if undecayed else name}
                if name.startswith(BACKBONE) and self.backbone_lr is not None:
                    options["lr"] = self.backbone_lr
                if undecayed:
                    options["weight_decay"] = 0.0
                by_name[name, undecayed] = ParamGroup(options, factor)
            by_name[name, undecayed].options["params"].append(parameter)
        groups = sorted(by_name.values(), key=lambda group: group.options["name"].startswith(BACKBONE))
        if len(groups) == 1:
            groups[0].options.pop("name")
        return groups

    def _each(self, classifier: nn.Module, backbone: Backbone | None) -> Iterator[tuple[str, float, nn.Parameter]]:
        """The name of its layer, the factor of its rate and each parameter."""
        if backbone is not None:
            layers = [] if self.layer_decay is None else backbone.tap_parameters()
            depths = {id(parameter): depth for depth, layer in enumerate(layers) for parameter in layer}
            for parameter in _trained(backbone.parameters()):
                if self.layer_decay is not None:
                    depth = depths[id(parameter)]
                    yield f"{BACKBONE}_{depth + 1}", self.layer_decay ** (len(layers) - 1 - depth), parameter
                else:
                    yield CLASSIFIER if self.backbone_lr is None else BACKBONE, 1.0, parameter
        for parameter in _trained(classifier.parameters()):
            yield CLASSIFIER, 1.0, parameter


UNIFORM = ParamGroupConfig()


def _trained(parameters: Iterable[nn.Parameter]) -> Iterator[nn.Parameter]:
    return (parameter for parameter in parameters if parameter.requires_grad)
