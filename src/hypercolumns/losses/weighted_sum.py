"""Weighted sums of losses."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hypercolumns.errors import ArgumentError
from hypercolumns.losses.base import ClassWeights, Loss


class WeightedSum(Loss):
    """The weighted sum of several losses. Class weights apply to the losses that support class weights.

    Args:
        losses: the losses by name.
        weights: the factor of each loss, by the names in `losses`. Each factor is at least 0, and at least one factor
            is above 0.

    Raises:
        ArgumentError: if the names in `weights` are not exactly those in `losses`, if a factor is negative or not a
            number, or if all factors are 0.
    """

    def __init__(self, losses: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        numbers = all(isinstance(weight, int | float) and weight >= 0 for weight in weights.values())
        if losses.keys() != weights.keys() or not numbers or not any(weights.values()):
            raise ArgumentError(
                f"weights={dict(weights)} must name exactly the losses {', '.join(losses)}, each with a number of at "
                f"least 0; at least one number must be above 0"
            )
        self.losses, self.factors = nn.ModuleDict(losses), dict(weights)

    @property
    def supports_ddp(self) -> bool:
        """Whether every loss of the sum works with data-parallel training."""
        return all(loss.supports_ddp for loss in self._parts())

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights of the losses that support class weights, and return whether there is such a loss."""
        return any([loss.set_class_weights(class_weights) for loss in self._parts()])

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the sum of all losses, each times its factor; see `Loss.forward`."""
        total = logits.new_zeros(())
        for loss, factor in zip(self._parts(), self.factors.values(), strict=True):
            total = total + factor * loss(logits, labels)
        return total

    def _parts(self) -> Sequence[Loss]:
        parts = [self.losses[name] for name in self.factors]
        return [part for part in parts if isinstance(part, Loss)]
