"""Convert a state dict to the names that a network has for its tensors, and check that it is of this network.

People have weights by many names: with prefixes that other programs add, by the names of the original authors, or by
those of transformers. timm converts the names of the authors.
"""

import difflib
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.models.backbones import _timm, networks
from hypercolumns.models.backbones._weight_files import MAX_SHOWN, State, report, some
from hypercolumns.models.backbones._weight_names import (
    authors_names,
    compare_depths,
    without_prefixes,
    without_wrappers,
)

AVERAGED = {"ema", "teacher"}  # of several networks in a file, the one with such a part in its prefix is chosen
COUNTER = "num_batches_tracked"
PATCHES, TABLE = "patch_embed.proj.weight", "relative_position_bias_table"
# Modules between the maps and the classifier: of timm's networks, and `encoder.ln` of torchvision's transformers.
AFTER_MAPS = ("attn_pool", "encoder.ln", "fc_norm", "global_pool", "norm", "pre_logits")
# Tensors that follow from the architecture. Some programs save them.
CONSTANTS = rf"({COUNTER}|relative_position_index|relative_coords_table|attn_mask|periods|bias_mask|\brope\..*)$"
SIZES = r"\d+m?|nano|pico|femto|atto|tiny|small|medium|base|xlarge|large|giant|gigantic|huge|mini|so400m|betwixt|little"
MAX_GUESSES = 8  # networks that are built to guess which one a state dict is of


@dataclass(frozen=True)
class _Reading:
    """One way to read a state dict: after a prefix, and by the names of the network or by those of others.

    Attributes:
        prefix: the text before the names in the file.
        state: the state dict by the names of the network.
        fitting: how many tensors of the network it has with their shapes.
        source: the state dict by the names of the authors; None if no names were converted.
        notes: what timm logged about the conversion.
    """

    prefix: str
    state: State
    fitting: int
    source: State | None = None
    notes: tuple[str, ...] = ()


def convert(network: str, state: State, reference: nn.Module, source: str = "weights (a state dict)") -> State:
    """Convert a state dict to the names that a network has for its tensors.

    Args:
        network: the name of the network, see `Backbone`.
        state: the tensors by the names in a file.
        reference: the whole network, possibly on the meta device.
        source: how messages name the weights, for example "weights=FILE".

    Returns:
        The tensors by the names of the network. If some are missing or have other shapes, `weights.assign_weights`
        raises an error.

    Raises:
        ArgumentError: if the state dict holds several networks that fit, or is of another network.
    """
    reading = _choose(_readings(network, state, reference), reference, source)
    wanted = reference.state_dict()
    if 2 * reading.fitting > len(wanted):
        _check_conversion(network, reading, wanted, source)
        if further := _further(reading, reference):
            count = "1 tensor" if len(further) == 1 else f"{len(further)} tensors"
            problems = [f"{source} has {count} that {network} lacks, such as {some(further)}"]
            raise ArgumentError("; ".join([*problems, *depths(reading.state, reference), advise(network, state)]))
    return reading.state


def unusual(names: list[str], reference: nn.Module) -> list[str]:
    """Leave out the names of tensors that the whole network has, or that follow its maps in many networks."""
    known, after = reference.state_dict(), _after_maps(reference)
    return [name for name in names if name not in known and not name.startswith(after)]


def depths(state: State, reference: nn.Module) -> list[str]:
    """Return clauses about the depths in which weights, by the names of a network, and the whole network differ."""
    compared = compare_depths(state, reference.state_dict())
    return [
        f"the weights have {given} {'blocks' if path == 'blocks' else f'modules in {path}'}, the network {expected}"
        for path, given, expected in compared[:MAX_SHOWN]
    ]


def advise(network: str, state: State) -> str:
    """Return a clause that says what to do: choose a network of the same family that fits, or other weights.

    Args:
        network: the name of a network that the state dict does not fit.
        state: the tensors by the names in a file.
    """
    prefix = networks.TIMM if networks.of_timm(network) is not None else ""
    own = network.removeprefix(prefix).partition(".")[0]
    family = re.sub(SIZES, "", own)
    names = [name for name in networks.list_names(network) if re.sub(SIZES, "", name) == family and name != own]
    names = difflib.get_close_matches(own, names, n=MAX_GUESSES, cutoff=0.0)
    found = next((name for name in names if _fits(f"{prefix}{name}", state)), None)
    if found is None:
        return "pass weights of the same network"
    # Not cnn=timm: the files in conf/cnn for families, such as dinov2, have further settings that should stay.
    return f"they fit the network {prefix}{found}; choose it by cnn.{'model' if prefix else 'network'}={found}"


def _fits(network: str, state: State) -> bool:
    """Return whether a state dict has all tensors of a network but those of its classifier, and no others."""
    try:
        reference = networks.build_shapes(network)
        best = max(_readings(network, state, reference), key=lambda reading: reading.fitting)
    except HypercolumnsError:
        return False
    return _is_complete(best, reference) and not _further(best, reference)


def _readings(network: str, state: State, reference: nn.Module) -> list[_Reading]:
    """Read a state dict by the network's names and, only if none of these readings is complete, by other names."""
    wanted, model = reference.state_dict(), networks.of_timm(network)

    def fitting(named: State) -> int:
        return sum(key in named and named[key].shape == tensor.shape for key, tensor in wanted.items())

    readings = [_Reading(prefix, named, fitting(named)) for prefix, named in without_prefixes(state, wanted)]
    if model is not None and not any(_is_complete(reading, reference) for reading in readings):
        for prefix, part in without_wrappers(state):
            named = authors_names(part)
            converted = _timm.convert(model, named, reference)
            if converted is not None:
                readings.append(_Reading(prefix, converted[0], fitting(converted[0]), named, converted[1]))
    return readings


def _choose(readings: list[_Reading], reference: nn.Module, source: str) -> _Reading:
    """Choose the reading that fits best, and of several complete ones the averaged weights.

    Raises:
        ArgumentError: if several are complete and differ, and not just one of them is averaged.
    """
    best = max(readings, key=lambda reading: reading.fitting)
    equal = [reading for reading in readings if reading.fitting == best.fitting]
    if not _is_complete(best, reference) or all(_same(best.state, other.state, reference) for other in equal):
        return best
    averaged = [reading for reading in equal if AVERAGED & set(re.split(r"[._]", reading.prefix))]
    prefixes = ", ".join(reading.prefix or "(none)" for reading in equal)
    if len(averaged) == 1:
        report(f"of the networks in {source}, with the prefixes {prefixes}, {averaged[0].prefix} is loaded")
        return averaged[0]
    raise ArgumentError(
        f"{source} holds several networks that fit, with the prefixes {prefixes}; save one of them in a file of its own"
    )


def _same(one: State, other: State, reference: nn.Module) -> bool:
    keys = reference.state_dict()
    return one is other or all(torch.equal(one[key], other[key]) for key in keys if key in one and key in other)


def _after_maps(reference: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the names of the tensors after the maps of a network: `AFTER_MAPS` and its classifier.

    timm's networks tell their classifier, which can have several layers; that of torchvision's is the last module.
    """
    children = [name for name, _ in reference.named_children()]
    classifier = children[-1:]
    get_classifier = getattr(reference, "get_classifier", None)
    if callable(get_classifier):
        layers = get_classifier()
        layers = layers if isinstance(layers, tuple | list) else (layers,)
        classifier = [name for name, part in reference.named_modules() if any(part is layer for layer in layers)]
    return tuple(f"{name}." for name in (*AFTER_MAPS, *(name.partition(".")[0] for name in classifier)))


def _is_complete(reading: _Reading, reference: nn.Module) -> bool:
    """Return whether a reading has all tensors of the network, except perhaps counters and those after the maps."""
    after = _after_maps(reference)
    return all(
        key in reading.state and reading.state[key].shape == tensor.shape
        for key, tensor in reference.state_dict().items()
        if not key.startswith(after) and not key.endswith(COUNTER)
    )


def _further(reading: _Reading, reference: nn.Module) -> list[str]:
    """Return the names of tensors that the network lacks, though they are in its layers before the classifier."""
    known = {*reference.state_dict(), *(name for name, _ in reference.named_buffers())}
    layers, after = {name for name, _ in reference.named_children()}, _after_maps(reference)
    named = (key for key in reading.state if key not in known and key.partition(".")[0] in layers)
    return [key for key in named if not key.startswith(after) and not re.search(CONSTANTS, key)]


def _check_conversion(network: str, reading: _Reading, wanted: State, source: str) -> None:
    """Check that timm kept the patches and the biases, and print what it resampled.

    Args:
        network: the name of the network.
        reading: the reading.
        wanted: the state dict of the whole network.
        source: how messages name the weights.

    Raises:
        ArgumentError: if the weights have patches of another size, or biases that the network lacks.
    """
    before = reading.state if reading.source is None else reading.source
    resampled = [key for key in wanted if key in reading.state and _is_resampled(key, reading.state[key], before)]
    if PATCHES in resampled:
        raise ArgumentError(
            f"{source} has patches of another size than {network}, whose {PATCHES} is {tuple(wanted[PATCHES].shape)}; "
            f"pass weights of the same network"
        )
    tables = [key for key in resampled if key.endswith(TABLE)]
    for note in [*reading.notes, *([f"Resized {some(tables)}."] if tables else [])]:
        report(f"timm adapted {source} to {network}: {note}")
    # timm leaves out these biases of DINOv3 if its network has none. They are 0 in most weights of the authors.
    for key in before if "storage_tokens" in before else ():
        if key.endswith("attn.qkv.bias") and key.replace("qkv.bias", "q_bias") not in wanted:
            queries, _, values = before[key].chunk(3)
            if queries.any() or values.any():
                raise ArgumentError(
                    f"{source} has biases of queries and values, which {network} lacks; choose the network of this "
                    f"name with _qkvb, which has them"
                )


def _is_resampled(key: str, value: Tensor, before: State) -> bool:
    """Return whether timm changed the number of values of a tensor.

    Args:
        key: the name of the tensor.
        value: the tensor after timm's conversion.
        before: the tensors before it. Only one with this name, perhaps after a prefix, is compared. If there is none,
            the tensor had another name, and one with its shape is looked for.
    """
    origins = [tensor for name, tensor in before.items() if f".{name}".endswith(f".{key}")]
    if origins:
        return all(tensor.numel() != value.numel() for tensor in origins)
    return all(tensor.shape != value.shape for tensor in before.values())
