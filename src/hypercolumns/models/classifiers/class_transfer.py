"""Give a classifier the weights of a classifier for other classes; classes of the same name keep their outputs."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypercolumns.models.classifiers.base import Classifier

MIN_SIMILARITY = 0.8  # of two names, by difflib, for a message that asks whether they mean the same class


@dataclass(frozen=True)
class ClassTransfer:
    """The classes of a trained classifier and those of a new one.

    >>> transfer = ClassTransfer(["road", "tree"], ["sky", "road"])
    >>> transfer.kept, transfer.added, transfer.dropped
    (['road'], ['sky'], ['tree'])

    Attributes:
        old: the classes of the trained classifier, in the order of its outputs.
        new: the classes of the new classifier, in the order of its outputs.
    """

    old: Sequence[str]
    new: Sequence[str]

    @property
    def kept(self) -> list[str]:
        """The classes that both classifiers have."""
        return [name for name in self.new if name in self.old]

    @property
    def added(self) -> list[str]:
        """The classes that only the new classifier has."""
        return [name for name in self.new if name not in self.old]

    @property
    def dropped(self) -> list[str]:
        """The classes that only the trained classifier has."""
        return [name for name in self.old if name not in self.new]

    def copy_weights(self, source: Classifier, target: Classifier) -> None:
        """Copy all weights but the outputs of classes that only one classifier has.

        In a grid, a class has an output at each place of the grid.

        Args:
            source: the trained classifier of the classes `old`. It is not changed.
            target: the new classifier of the classes `new`, which has the same settings. It gets the statistics, the
                layers before the last one, and the outputs of the classes `kept`. Its other outputs stay as they are.
        """
        weights, own = source.state_dict(), target.state_dict()
        new = [self.new.index(name) for name in self.kept]
        old = [self.old.index(name) for name in self.kept]
        for name in (f"{target.output_layer}.weight", f"{target.output_layer}.bias"):
            outputs = own[name].unflatten(0, (-1, len(self.new))).clone()
            outputs[:, new] = weights[name].unflatten(0, (-1, len(self.old)))[:, old]
            weights[name] = outputs.flatten(0, 1)
        target.load_state_dict(weights)

    def similar(self) -> dict[str, str]:
        """Find names that may mean the same class, such as `car` and `Cars`.

        Returns:
            For some classes in `added`, the class in `dropped` with the most similar name.
        """
        plain = {_plain(name): name for name in self.dropped}
        pairs = {}
        for name in sorted(self.added, key=lambda name: _plain(name) not in plain):  # equal names come first
            for match in difflib.get_close_matches(_plain(name), plain, n=1, cutoff=MIN_SIMILARITY):
                pairs[name] = plain.pop(match)
        return pairs


def _plain(name: str) -> str:
    """Return a name in small letters, without blanks, hyphens and the like."""
    return re.sub(r"[\W_]+", "", name.casefold()) or name
