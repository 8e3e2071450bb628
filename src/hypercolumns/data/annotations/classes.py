"""The classes of a data set whose annotation files name the class of each object."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hypercolumns.data.annotations.drawn_mask import VOID_VALUE
from hypercolumns.data.class_files import VOC_COLOURS, Classes, Colours, class_list
from hypercolumns.data.class_list import ClassEntry, ClassList
from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.labels import BACKGROUND_NAMES, IGNORE_INDEX, VOID_COLOUR, Colour, is_background, voc_palette
from hypercolumns.overrides import format_mapping, quote_word

VOC_BLACK = voc_palette(1)[0]
VOID = "void"  # value of `data.unannotated`


@dataclass(frozen=True)
class AnnotationClasses:
    """The classes of drawn masks, and the value that each name has in them.

    Attributes:
        listed: the classes. Their values are their positions.
        values: the value of each name.
        fill: the value of pixels that no object covers.
        note: says for the user what pixels without an object are.
    """

    listed: ClassList
    values: Mapping[str, int]
    fill: int
    note: str


def annotation_classes(
    found: Iterable[str],
    source: str,
    classes: Classes | None = None,
    palette: Colours | None = None,
    unannotated: str = "background",
) -> AnnotationClasses:
    """Decide the classes and their values in drawn masks.

    Args:
        found: the names in the annotation files, in the order that the classes get if `classes` is None.
        source: where the names come from, for messages.
        classes: the classes, see `class_files.class_list`; None: all names found.
        palette: the classes' colours, see `class_files.class_list`. `voc`: Pascal VOC's black for the background, and
            its next colours for the other classes, in their order.
        unannotated: the class of pixels without an object. If it is not one of the classes, it becomes the first one.
            `void`: these pixels are void.

    Returns:
        The classes and values.

    Raises:
        ArgumentError: if there are no classes, or the list lacks a name that was found.
    """
    names = list(dict.fromkeys(found))
    if classes is None and not names:
        raise ArgumentError(f"annotations={source} name no class; annotate some objects, or give data.classes=<names>")
    if classes is None and len(names) > IGNORE_INDEX:
        raise ArgumentError(
            f"annotations={source} name {len(names)} classes, but there can be {IGNORE_INDEX} at most; list those that "
            f"objects have by data.classes=, or merge classes in the annotation files"
        )
    listed = class_list(ClassList.of(names, source) if classes is None else classes)
    # a list that gives values of its own chooses the colours of these values
    in_order = palette == VOC_COLOURS and [entry.value for entry in listed.entries] == [*range(len(listed.entries))]
    if not in_order:
        listed = class_list(listed, palette)
    entries = list(listed.entries)
    by_name = {entry.name: entry.name for entry in entries}
    aliases = sorted(filter(is_background, by_name), key=lambda name: name != BACKGROUND_NAMES[0])
    fill_name, black = None, next(iter(aliases), None)
    if unannotated != VOID or VOID in by_name:
        fill_name = str(unannotated)
        if fill_name not in by_name and is_background(fill_name) and aliases:
            fill_name = aliases[0]
        if fill_name not in by_name:
            entries.insert(0, ClassEntry(fill_name, 0, _free_colour(listed)))
            black = fill_name
    if in_order:
        entries = _voc_colours(entries, black)
    entries = [entry._replace(value=value) for value, entry in enumerate(entries)]
    values = {entry.name: entry.value for entry in entries}
    if fill_name is not None and is_background(fill_name):
        values |= {name: values[fill_name] for name in names if is_background(name) and name not in values}
    unknown = [name for name in names if name not in values]
    if unknown:
        own = [entry.name for entry in listed.entries]
        of_list = shorten_list(own) if listed.source == ClassList.source else listed.source
        mapping = format_mapping({unknown[0]: "NAME"})
        example = "" if mapping is None else f", such as {quote_word(f'data.map={mapping}')}"
        raise ArgumentError(
            f"classes={of_list} lacks names that the annotations have: {shorten_list(unknown)}; list them, and "
            f"merge them with other classes, or make them void, by data.map{example}"
        )
    fill = VOID_VALUE if fill_name is None else values[fill_name]
    note = "void" if fill_name is None else f"of class {fill_name}"
    remedy = "" if fill_name is None else "; if they are not annotated: data.unannotated=void"
    return AnnotationClasses(
        replace(listed, entries=tuple(entries), void=(), own_void=(VOID_VALUE,), values_known=True).check(),
        values,
        fill,
        f"pixels without an object are {note}{remedy}",
    )


def _voc_colours(entries: Sequence[ClassEntry], black: str | None) -> list[ClassEntry]:
    """Give the class `black` Pascal VOC's colour 0, which is black, and the other classes the colours from 1 on."""
    colours = iter(voc_palette(len(entries) + 1)[1:])
    return [entry._replace(colour=VOC_BLACK if entry.name == black else next(colours)) for entry in entries]


def _free_colour(listed: ClassList) -> Colour | None:
    """Return a colour for one more class; None if the list has no colours."""
    if not listed.has_colours:
        return None
    used = {entry.colour for entry in listed.entries} | {VOID_COLOUR}
    return next(colour for colour in voc_palette(256) if colour not in used)
