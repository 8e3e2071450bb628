"""An exponential moving average of the weights, built on Lightning's callback `WeightAveraging`."""

from collections.abc import Sequence

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from hypercolumns.errors import check_number


class EMAWeightAveraging(WeightAveraging):
    """Keep an exponential moving average (EMA) of the weights, and use it for validation and the saved model.

    After the first optimizer step, the average equals the weights. After each later step,
    average = d * average + (1 - d) * weights, where d = min(decay, (1 + n) / (10 + n)), and n is the number of steps
    before this step. If d were `decay` in all steps, the average of a short training would keep too much of the first
    weights. Frozen weights and their average are bitwise equal. Integer buffers, such as counters, are not averaged but
    copied.

    A checkpoint holds the average in `state_dict`, and the current weights in `current_model_state`. A training resumes
    from the current weights.

    Args:
        decay: the maximum of d, in [0, 1), such as 0.999. At 0, the average equals the current weights.

    Raises:
        ArgumentError: if `decay` is not a number in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        check_number("decay", decay, below=1)
        self.decay = decay
        super().__init__(multi_avg_fn=self.update_averages)

    def update_averages(self, averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor) -> None:
        """Update the averages in place, after an optimizer step.

        Args:
            averages: the averages of the weights and buffers, before this step.
            weights: the weights and buffers after this step, in the order of `averages`.
            steps: the number of steps before this step, a scalar.
        """
        share = 1 - min(self.decay, (1 + steps.item()) / (10 + steps.item()))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)  # lerp keeps equal values bitwise equal; a weighted sum would not
            else:
                average.copy_(weight)
