"""The average of the weights of several models that were trained from the same start."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError
from hypercolumns.models.model_file import VERSIONS, read_model
from hypercolumns.models.segmenter import Segmenter

STATISTICS = ("classifier.mean", "classifier.std")  # training keeps them, so equal ones tell a common start


def average_models(paths: Sequence[Path]) -> Segmenter:
    """Load models, and return one model whose weights are their mean: a model soup.

    See Wortsman et al., Model soups (ICML 2022, https://arxiv.org/abs/2203.05482). The mean is a good model only if all
    models were trained from the same model. Such models standardise hypercolumns alike.

    Args:
        paths: the files of at least two models, see `model_file.find_model`.

    Returns:
        The model, on the CPU, in evaluation mode. Running statistics of BatchNorm layers are averaged like weights.
        Tensors of integers are those of the first model.

    Raises:
        ArgumentError: if there are fewer than two models, or the same one twice; if a file can't be read; or if the
            models differ in anything but their weights, or start from different models.
    """
    if len(paths) < 2:
        raise ArgumentError(f"an average needs at least two models, but there are {len(paths)}; add another one")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ArgumentError("a model is listed twice; list each one once")
    average = Segmenter.load(paths[0])
    header, first = read_model(paths[0])
    sums = {name: tensor.double() for name, tensor in first.items() if tensor.is_floating_point()}
    for path in paths[1:]:
        other, tensors = read_model(path)
        differing = [key for key in {**header, **other} if key != VERSIONS and header.get(key) != other.get(key)]
        if differing:
            raise ArgumentError(
                f"{path} and {paths[0]} differ in {', '.join(differing)}; choose models that differ in their weights "
                f"alone"
            )
        if not _have_one_start(first, tensors):
            raise ArgumentError(
                f"{path} and {paths[0]} standardise hypercolumns by other means and standard deviations, so they were "
                f"not trained from the same model, and the mean of their weights would be no good model; train each "
                f"with another seed= and the same init_from="
            )
        for name in sums:
            sums[name] += tensors[name].double()
    averaged = {name: (total / len(paths)).to(first[name].dtype) for name, total in sums.items()}
    average.load_state_dict({**first, **averaged})
    return average


def _have_one_start(first: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(name not in first or torch.equal(first[name], other[name]) for name in STATISTICS)
