"""The list of a data set's classes: their names, and their values and colours in masks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.labels import (
    IGNORE_INDEX,
    MAX_VALUE,
    VOID_COLOUR,
    Colour,
    LabelScheme,
    format_colour,
    is_class_name,
    voc_palette,
)

Void = int | str | Sequence[int | str] | None  # the setting `data.void`
ClassMap = Mapping[int | str, str | None]  # the setting `data.map`
NOTHING = "none"  # value of `data.void` if every pixel belongs to a class
FORMS = (
    "a text file with a class name on each line, labelmap.txt, label_colors.txt, _classes.csv, or the JSON file of an "
    "annotation tool"
)


class ClassEntry(NamedTuple):
    """A class as a file or a user lists it.

    Attributes:
        name: the name of the class.
        value: the value of the class in masks that hold values.
        colour: the colour of the class in masks that hold colours; None: the list names no colour.
    """

    name: str
    value: int
    colour: Colour | None = None


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, in the order in which they are listed.

    Attributes:
        entries: the classes.
        void: the values that are void unless the user says otherwise.
        source: where the list comes from, for messages, such as the path of its file.
        values_known: false if the values of the entries are only their positions, and masks may hold other values.
        own_void: the values that are void whatever the user says; masks that are drawn from annotations hold them.
    """

    entries: tuple[ClassEntry, ...]
    void: tuple[int, ...] = (IGNORE_INDEX,)
    source: str = "data.classes"
    values_known: bool = True
    own_void: tuple[int, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str], source: str = "data.classes") -> "ClassList":
        """Make the list of classes whose values are 0, 1, 2 and so on."""
        return cls(tuple(ClassEntry(name, value) for value, name in enumerate(names)), source=source)

    @classmethod
    def of_voc(cls, names: Iterable[str], source: str = "data.classes") -> "ClassList":
        """Make the list of classes whose values are 0, 1, 2 and so on, and whose colours are Pascal VOC's."""
        listed = cls.of(names, source)
        return listed.with_colours(voc_palette(len(listed.entries)))

    @property
    def has_colours(self) -> bool:
        """Whether the list names the colour of every class."""
        return all(entry.colour is not None for entry in self.entries)

    def with_colours(self, colours: Sequence[Colour]) -> "ClassList":
        """Return the list with other colours, one for each class."""
        return replace(
            self, entries=tuple(entry._replace(colour=c) for entry, c in zip(self.entries, colours, strict=True))
        )

    def check(self, repeated_colours: bool = False) -> "ClassList":
        """Return the list, after checking the names, values and colours.

        Args:
            repeated_colours: whether classes may have the same colour. Masks that hold this colour are then refused.

        Raises:
            ArgumentError: if there are no or too many classes, if a name contains control characters, or if a name, a
                value or a colour occurs twice.
        """
        names = [entry.name for entry in self.entries]
        if not 0 < len(names) <= IGNORE_INDEX:
            raise ArgumentError(
                f"classes={self.source} holds {len(names)} class names; expected 1 to {IGNORE_INDEX}, one per line"
            )
        invalid = [name for name in names if not is_class_name(name)]
        if invalid:
            raise ArgumentError(
                f"classes={self.source} holds names with control characters ({shorten_list(invalid)}); remove these "
                f"characters"
            )
        colours = [entry.colour for entry in self.entries if entry.colour is not None and not repeated_colours]
        for kind, items in (
            ("class name", names),
            ("value", [str(entry.value) for entry in self.entries]),
            ("colour", [format_colour(colour) for colour in colours]),
        ):
            doubled = sorted({item for item in items if items.count(item) > 1})
            if doubled:
                raise ArgumentError(
                    f"classes={self.source} repeats {kind}s ({shorten_list(doubled)}); give each class a "
                    f"different {kind}"
                )
        return self

    def scheme(self, void: Void = None, map: ClassMap | None = None) -> LabelScheme:
        """Make the rule that turns the pixels of masks into class indices.

        Args:
            void: the values or class names that are void, `none` if there is no void; None: the value 255, unless it is
                a class. A class that is void is removed from the classes.
            map: for some values or class names, the name of the class that they become; None for void. Several can
                become the same class. A name that is not in the list is a new class.

        Returns:
            The scheme. Its classes are in the order of their first values.

        Raises:
            ArgumentError: if `void` or `map` is invalid or names a class that is not in the list, if both name a value,
                if no class is left, or if some classes have colours and others have none.
        """
        if not self.own_void:  # drawn masks hold no colours
            self._check_colours()
        by_name = {entry.name: entry for entry in self.entries}
        mapped = self._mapped(map, by_name)
        listed: dict[int, str | None] = {entry.value: entry.name for entry in self.entries}
        targets = listed | mapped
        void_values = self._void_values(void, by_name)
        if void is None:
            void_values -= {*targets}
        void_values |= {*self.own_void}
        if twice := sorted(value for value in void_values if mapped.get(value) is not None):
            raise ArgumentError(f"map gives the value {twice[0]} a class, but void={void} makes it void; leave out one")
        colour_of = {entry.value: entry.colour for entry in self.entries if entry.colour is not None}
        if not self.has_colours:
            colour_of = dict(enumerate(voc_palette(IGNORE_INDEX + 1)))
        names: dict[str, Colour | None] = {}
        values: dict[int, int] = {}
        for value, name in sorted(targets.items()):
            if name is None or value in void_values:
                values[value] = IGNORE_INDEX
                continue
            if names.setdefault(name, colour_of.get(value)) is None:
                names[name] = colour_of.get(value)
            values[value] = list(names).index(name)
        values |= dict.fromkeys(void_values, IGNORE_INDEX)
        if not names:
            raise ArgumentError(
                f"void={void} and map={map} leave no class of {self.source}; name only the values that are void"
            )
        defaults = voc_palette(len(names))
        palette = tuple(colour or default for colour, default in zip(names.values(), defaults, strict=True))
        of_colour: dict[Colour, set[int]] = {}
        for value, colour in colour_of.items():
            if value in values:
                of_colour.setdefault(colour, set()).add(values[value])
        colours = {colour: indices.pop() for colour, indices in of_colour.items() if len(indices) == 1}
        if not self.values_known:
            said = {*mapped} - {*listed} | {key for key in map or {} if isinstance(key, int)} | void_values
            values = {value: index for value, index in values.items() if value in said}
        if IGNORE_INDEX in void_values:
            colours.setdefault(VOID_COLOUR, IGNORE_INDEX)
        return LabelScheme(
            tuple(names), palette, values, colours, void_said=void is not None, own_colours=self.has_colours
        )

    def _check_colours(self) -> None:
        """Raise ArgumentError if some classes have colours and others have none."""
        lacking = [entry.name for entry in self.entries if entry.colour is None]
        if 0 < len(lacking) < len(self.entries):
            raise ArgumentError(
                f"classes={self.source} gives colours to some classes only, and none to {shorten_list(lacking)}; give "
                f"all classes a colour, or none"
            )

    def _void_values(self, void: Void, by_name: Mapping[str, ClassEntry]) -> set[int]:
        """Return the values that the setting `void` names.

        Raises:
            ArgumentError: if a name is not in the list, or a value is not a number from 0 to 65535.
        """
        if void is None:
            return set(self.void)
        if void == NOTHING and NOTHING not in by_name:
            return set()
        values = set()
        items = list(void) if isinstance(void, list | tuple) else [void]
        self._check_no_numbers("void", items)
        for item in items:
            if isinstance(item, str) and item in by_name:
                values.add(by_name[item].value)
            elif isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= MAX_VALUE:
                values.add(item)
            else:
                raise ArgumentError(
                    f"void={item} must be none, a value from 0 to {MAX_VALUE}, or the name of a class in {self.source} "
                    f"({shorten_list(list(by_name))})"
                )
        return values

    def _check_no_numbers(self, setting: str, keys: Iterable[object]) -> None:
        """Raise ArgumentError if a setting uses numbers for classes of annotation files, whose values are internal."""
        numbers = [key for key in keys if isinstance(key, int)]
        if numbers and self.own_void:
            raise ArgumentError(
                f"{setting}: {numbers[0]} is a number, but annotation files name their classes; give the name of a "
                f"class"
            )

    def _mapped(self, map: ClassMap | None, by_name: Mapping[str, ClassEntry]) -> dict[int, str | None]:
        """Return the name of the class that each value in `map` becomes; None for void.

        Raises:
            ArgumentError: if `map` has a key that is neither a value nor a name in the list, or two keys for one value.
        """
        if map is not None and not isinstance(map, Mapping):
            raise ArgumentError(
                f"map={map} must give values or class names their classes, as in {{255: road, van: car}}"
            )
        targets: dict[int, str | None] = {}
        self._check_no_numbers("map", map or {})
        for key, target in (map or {}).items():
            name = str(target) if isinstance(target, int) and not isinstance(target, bool) else target
            if name is not None and not is_class_name(name):
                raise ArgumentError(f"map: {key} becomes {target}, which is not a class name; give a name, or null")
            value = by_name[key].value if isinstance(key, str) and key in by_name else key
            if value in targets:
                raise ArgumentError(f"map names the value {value} twice, once by the name of its class; leave out one")
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_VALUE:
                targets[value] = name
            else:
                raise ArgumentError(
                    f"map: {key} must be a value from 0 to {MAX_VALUE}, or the name of a class in {self.source} "
                    f"({shorten_list(list(by_name))})"
                )
        return targets


def find_colour(line: str) -> Colour | None:
    """Return the colour of a line `R G B` or `R,G,B`; None if the line is not a colour."""
    parts = re.split(r"[\s,;]+", line.strip())
    if len(parts) != 3 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def parse_colour(source: str, given: str | Sequence[Any]) -> Colour:
    """Return the colour that is written as #RRGGBB or as three numbers.

    Args:
        source: what names the colour, such as the path of a file; the message of the error begins with it.
        given: the colour.

    Raises:
        ArgumentError: if it is not a colour.
    """
    if isinstance(given, str) and re.fullmatch("#[0-9a-fA-F]{6}", given):
        return int(given[1:3], 16), int(given[3:5], 16), int(given[5:7], 16)
    given = given if isinstance(given, str) else " ".join(map(str, given))
    colour = find_colour(given)
    if colour is None:
        raise ArgumentError(f"{source}: {given} is not a colour; expected red, green, blue, each from 0 to 255")
    return colour
