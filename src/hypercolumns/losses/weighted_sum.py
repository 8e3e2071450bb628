"""Several losses together."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hypercolumns.errors import ArgumentError
from hypercolumns.losses.base import ClassWeights, Loss


class WeightedSum(Loss):
    """The sum of losses, each times its weight; weights of classes are for those that have such."""

    def __init__(self, losses: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        """Both by the same names; the weights must be 0 or more, and not all 0."""
        super().__init__()
        right = all(isinstance(one, int | float) and one >= 0 for one in weights.values()) and any(weights.values())
        if losses.keys() != weights.keys() or not right:
            raise ArgumentError(
                f"weights={dict(weights)} must have a number of at least 0 for each of "
                f"{', '.join(losses)}, and one above 0"
            )
        self.losses, self.factors = nn.ModuleDict(losses), dict(weights)

    @property
    def supports_ddp(self) -> bool:
        """See `Loss`."""
        return all(loss.supports_ddp for loss in self._parts())

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """See `Loss`."""
        return any([loss.set_class_weights(class_weights) for loss in self._parts()])

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        total = logits.new_zeros(())
        for loss, factor in zip(self._parts(), self.factors.values(), strict=True):
            total = total + factor * loss(logits, labels)
        return total

    def _parts(self) -> Sequence[Loss]:
        parts = [self.losses[name] for name in self.factors]
        return [part for part in parts if isinstance(part, Loss)]
