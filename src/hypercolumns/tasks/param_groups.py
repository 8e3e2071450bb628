"""Parameter groups of the optimiser. They give layers different learning rates and weight decay."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, check_bool, check_fraction, check_number
from hypercolumns.models.backbones import Backbone

CLASSIFIER, BACKBONE = "classifier", "backbone"
MAX_LR = 1e30  # larger learning rates could overflow float32 in the optimiser's arithmetic


class ParamGroup(NamedTuple):
    """A parameter group of an optimiser.

    Attributes:
        options: the dict that torch's optimisers take for a group. It holds the parameters under `params`, the name of
            the group if there are several groups, and the settings that differ from the optimiser's defaults.
        factor: a factor for the group's learning rate. It is applied after the optimiser is built, because the default
            learning rate is not known earlier.
    """

    options: dict[str, Any]
    factor: float = 1.0


@dataclass(frozen=True)
class ParamGroupConfig:
    """Settings that give the layers of a model different learning rates and weight decay.

    Attributes:
        backbone_lr: the learning rate of the backbone, in [0, 1e30); None: the learning rate of the classifier.
        layer_decay: the factor between the learning rates of neighbouring groups of layers, in (0, 1]. The groups are
            those of `TappedNetwork.layer_groups`: blocks of a transformer (as for BEiT, arXiv:2106.08254), taps of any
            other network. The deepest group has the backbone's rate. Every other group has `layer_decay` times the rate
            of the next deeper one. Shallow layers hold more general features, so they need smaller changes (Howard and
            Ruder, arXiv:1801.06146). None: all layers of the backbone have the same rate.
        no_decay_norm_and_bias: whether to exclude all parameters from weight decay except the weights of convolutions
            and linear layers, see `is_decayed`.

    Raises:
        ArgumentError: if a value has the wrong type or is outside its range.
    """

    backbone_lr: float | None = None
    layer_decay: float | None = None
    no_decay_norm_and_bias: bool = False

    def __post_init__(self) -> None:
        """Check the type and the range of each setting."""
        if self.backbone_lr is not None:
            check_number("backbone_lr", self.backbone_lr, below=MAX_LR)
        if self.layer_decay is not None:
            check_fraction("layer_decay", self.layer_decay)
        if self.layer_decay == 0:
            raise ArgumentError(
                "layer_decay=0 must be above 0 and at most 1, or null; to freeze shallow layers, set trainable of the "
                "backbone (cnn.trainable) to the number of deepest taps to train"
            )
        check_bool("no_decay_norm_and_bias", self.no_decay_norm_and_bias)

    def groups(self, classifier: nn.Module, backbone: Backbone | None = None) -> list[ParamGroup]:
        """Group the trainable parameters of a classifier and a backbone by learning rate and weight decay.

        The classifier has one group. The groups of the backbone depend on the settings. If `layer_decay` is set, each
        group of `TappedNetwork.layer_groups` has its own. If only `backbone_lr` is set, the whole backbone has one
        group of its own. If neither is set, the backbone's parameters are in the classifier's group.
        `no_decay_norm_and_bias` splits each group in two.

        Within a group, the parameters are in the order in which the modules list them. This order must not change,
        because the optimiser state in a checkpoint refers to parameters by number.

        Args:
            classifier: the classifier.
            backbone: the backbone; None: group the parameters of the classifier only.

        Returns:
            The groups: first those of the classifier (and of the backbone, if it shares them), then those of the
            backbone alone. If there are several groups, each has a name.
        """
        by_name: dict[tuple[str, bool], ParamGroup] = {}
        names = {id(each): path for part in (classifier, backbone) if part for path, each in part.named_parameters()}
        for name, factor, parameter in self._each(classifier, backbone):
            undecayed = self.no_decay_norm_and_bias and not is_decayed(names[id(parameter)], parameter)
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
        """Yield (name of the group, factor for the learning rate, parameter) for each trainable parameter."""
        if backbone is not None:
            layers = [] if self.layer_decay is None else backbone.tapped.layer_groups()
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


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is a weight of at least two dimensions, which weight decay is meant for.

    It is not meant for biases, for scales and shifts of normalisation layers, for layer scales, and for the tensors
    that timm's `no_weight_decay` lists: position embeddings, class tokens, registers and tables of relative positions.
    These have one dimension or are not called a weight.

    Args:
        name: the name of the parameter in its network.
        parameter: the parameter.

    Returns:
        True for weights of convolutions, linear layers and attention.
    """
    return parameter.ndim > 1 and "weight" in name.rpartition(".")[2]


def _trained(parameters: Iterable[nn.Parameter]) -> Iterator[nn.Parameter]:
    return (parameter for parameter in parameters if parameter.requires_grad)
