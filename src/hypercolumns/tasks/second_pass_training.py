"""Train the second pass of a model, see `models.second_pass`, on pixels whose features fit in memory."""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.optim import AdamW

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import HypercolumnsError
from hypercolumns.losses import balanced_weights, cross_entropy
from hypercolumns.models.second_pass import SecondPass
from hypercolumns.runtime import randomness
from hypercolumns.tasks.schedules import cosine

BATCH, WARMUP = 1024, 0.3  # pixels in a step; the fraction of the steps in which the learning rate rises
REPORTS = 5  # how often the mean loss is reported


def train_second_pass(
    features: Tensor,
    labels: Tensor,
    classes: int,
    hidden: int,
    steps: int,
    lr: float,
    weight_decay: float,
    class_weights: float,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> SecondPass:
    """Train a new second pass by AdamW.

    Args:
        features: (N, 16 K), see `second_pass.features_at`.
        labels: (N,) int64, the class indices of the pixels.
        classes: K, the number of classes.
        hidden: the number of hidden units.
        steps: the number of steps of the optimiser, each of up to 1024 pixels.
        lr: the highest learning rate.
        weight_decay: the decoupled weight decay.
        class_weights: the weight of a class is proportional to 1 / n^p, with n pixels of the class and this p, 0 to 1.
        seed: the seed of the weights and of the order of the pixels.
        report: called five times, with the number of steps so far and the mean loss since the last call.

    Returns:
        The second pass, in evaluation mode on the device of the features.

    Raises:
        HypercolumnsError: if a loss or a weight is NaN or infinite.
    """
    with randomness.seeded(seed, "second pass"):
        second = SecondPass(classes, hidden)
    second.to(features.device)
    weights = balanced_weights(torch.bincount(labels, minlength=classes), class_weights)
    optimizer = AdamW(second.parameters(), lr, weight_decay=weight_decay)
    schedule = cosine(optimizer, steps, WARMUP)
    nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))
    losses: list[float] = []
    for step, rows in enumerate(itertools.islice(_batches(len(labels), seed), steps), start=1):
        chosen = rows.to(labels.device)
        loss = cross_entropy(second(features[chosen], nowhere), labels[chosen], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        # Even if the loss is finite, its gradients can make the weights NaN or infinite.
        finite = math.isfinite(losses[-1]) and (
            step < steps or all(each.isfinite().all() for each in second.parameters())
        )
        if not finite:
            raise HypercolumnsError(
                f"the training of the second pass diverged by step {step}, with a loss of {losses[-1]:g}; lower "
                f"refine.lr, which is {lr:g}"
            )
        if step * REPORTS // steps > (step - 1) * REPORTS // steps:
            report(step, sum(losses) / len(losses))
            losses.clear()
    return second.eval()


def _batches(count: int, seed: int) -> Iterator[Tensor]:
    """Yield the indices of the pixels of each step, without end: all pixels in a random order, again and again."""
    for epoch in itertools.count():
        generator = randomness.generator(seed, "second pass", epoch)
        yield from torch.randperm(count, generator=generator).split(BATCH)
