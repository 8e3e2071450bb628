"""An exponential moving average of the weights, built on Lightning's callback."""

from collections.abc import Sequence

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from hypercolumns.errors import check_number


class EMAWeightAveraging(WeightAveraging):
    """Keep an exponential moving average (EMA) of the weights, and use it for validation and the saved model.

    After each step, average = decay * average + (1 - decay) * weights. After n steps the decay is at most
    (1 + n) / (10 + n): the average of a short training would otherwise keep too much of the initial weights. Frozen
    weights stay bitwise equal; integer buffers, such as counters, are copied.

    A checkpoint holds the average as its `state_dict`, and also the current weights, from which the training resumes.

    Args:
        decay: in [0, 1), such as 0.999; 0 disables averaging.

    Raises:
        ArgumentError: if `decay` is not a number in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        check_number("decay", decay, below=1)
        self.decay = decay
        super().__init__(multi_avg_fn=self.update_averages)

    def update_averages(self, averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor) -> None:
        """Update the averages in place.

        Args:
            averages: the averages.
            weights: the current weights, one tensor per average.
            steps: the number of steps so far, a scalar.
        """
        share = 1 - min(self.decay, (1 + steps.item()) / (10 + steps.item()))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)  # keeps equal values bitwise equal; Lightning's weighted sum does not
            else:
                average.copy_(weight)
