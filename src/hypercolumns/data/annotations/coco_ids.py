"""Match the ids in a COCO file, where some programs write an id as a number in one place and as a text in another."""

from collections.abc import Iterable, Iterator
from typing import Any

from hypercolumns.errors import ArgumentError, shorten_list


class IdMatcher:
    """The ids that a list of a COCO file gives to its entries.

    Args:
        ids: the ids.
        what: the file and the field that refers to the ids, for messages.
    """

    def __init__(self, ids: Iterable[Any], what: str) -> None:
        self._ids = dict.fromkeys(ids)
        self._what = what
        self._similar: dict[int | str, list[Any]] = {}
        for id in self._ids:
            self._similar.setdefault(_plain(id), []).append(id)

    def __len__(self) -> int:
        """Return the number of different ids."""
        return len(self._ids)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the ids, in the order of the list."""
        return iter(self._ids)

    def find(self, id: Any) -> Any | None:
        """Return the listed id that an id means: the same one, or else the only one that is the same number or text.

        Returns:
            The listed id; None if there is none.

        Raises:
            ArgumentError: if several listed ids are the same number, such as "2" and "02" for the number 2.
        """
        if id in self._ids:
            return id
        similar = self._similar.get(_plain(id), [])
        if len(similar) > 1:
            raise ArgumentError(
                f"{self._what} {id!r} may mean each of the ids {shorten_list([repr(other) for other in similar])}; "
                f"write all ids as numbers, and export the file again"
            )
        return similar[0] if similar else None


def id_order(id: Any) -> tuple[bool, int | float | str]:
    """Return a key that sorts ids: numbers, also if they are written as texts, and then other texts."""
    plain = id if isinstance(id, int | float) else _plain(id)
    return isinstance(plain, str), plain


def _plain(id: Any) -> int | str:
    """Return an id as a whole number if it is one, also if it is written as a text."""
    text = str(id).strip()
    return int(text) if text.isdecimal() else text
