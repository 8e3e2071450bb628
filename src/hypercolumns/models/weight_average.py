"""The mean of the weights of several models that were trained from the same start."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError
from hypercolumns.models.model_file import SECOND_PASS, Header
from hypercolumns.models.segmenter import Segmenter

# Smallest cosine of the classifiers' weights. It was 0.94 to 0.97 for models that were fine-tuned from one start, and
# 0.60 to 0.71 for those of different starts, even if these had begun with the same random weights.
LEAST_COSINE = 0.75


def average_models(paths: Sequence[Path]) -> Segmenter:
    """Load models, and return one model whose weights are their mean: a model soup.

    See Wortsman et al., Model soups (ICML 2022, https://arxiv.org/abs/2203.05482). The mean is a good model only if all
    models were trained from the same model.

    Args:
        paths: the files of at least one model, see `model_file.find_model`.

    Returns:
        The model, on the CPU, in evaluation mode. Running statistics of BatchNorm layers are averaged like weights.
        Tensors of integers are those of the first model.

    Raises:
        ArgumentError: if a file can't be read as a model; if two models are the same, differ in anything but their
            weights, or were not trained from the same model.
    """
    models = [Segmenter.load(path) for path in paths]
    for (first, one), (second, other) in itertools.combinations(zip(paths, models, strict=True), 2):
        _check_header(first, one.header(), second, other.header())
        _check_weights(first, one.state_dict(), second, other.state_dict())
    average, states = models[0], [model.state_dict() for model in models]
    averaged = dict(states[0])
    for name, tensor in averaged.items():
        if tensor.is_floating_point():
            total = torch.stack([state[name].double() for state in states]).sum(0)
            averaged[name] = (total / len(states)).to(tensor.dtype)
    average.load_state_dict(averaged)
    return average


def _check_header(first: Path, header: Header, second: Path, other: Header) -> None:
    if SECOND_PASS in header or SECOND_PASS in other:
        raise ArgumentError(
            f"{first if SECOND_PASS in header else second} has a second pass, which is trained for the first pass of "
            f"one model; average the models that stage refine was given, and run stage refine on the result"
        )
    differing = [key for key in {**header, **other} if header.get(key) != other.get(key)]
    if differing:
        raise ArgumentError(
            f"{second} and {first} differ in {', '.join(differing)}; choose models that differ in their weights alone"
        )


def _check_weights(first: Path, state: dict[str, Tensor], second: Path, other: dict[str, Tensor]) -> None:
    if all(torch.equal(tensor, other[name]) for name, tensor in state.items()):
        raise ArgumentError(f"{second} and {first} are the same model; list each model once")
    cosine = torch.cosine_similarity(_classifier_weights(state), _classifier_weights(other), dim=0).item()
    if cosine < LEAST_COSINE:
        raise ArgumentError(
            f"{second} and {first} were not trained from the same model: the cosine of their classifiers' weights is "
            f"{cosine:.2f}, and not at least {LEAST_COSINE}; the mean of such weights is no good model, so train each "
            f"with another seed= and the same init_from="
        )


def _classifier_weights(state: dict[str, Tensor]) -> Tensor:
    matrices = (tensor for name, tensor in state.items() if name.startswith("classifier.") and tensor.ndim > 1)
    return torch.cat([tensor.double().flatten() for tensor in matrices])
