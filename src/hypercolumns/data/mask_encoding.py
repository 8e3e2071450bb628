"""Decide whether the pixels of mask files stand for values or for colours."""

from collections.abc import Mapping
from dataclasses import replace

from hypercolumns.data.class_list import ClassList
from hypercolumns.errors import HypercolumnsError, check_choice
from hypercolumns.io.mask_source import Mask
from hypercolumns.io.masks import MaskSummary
from hypercolumns.labels import IGNORE_INDEX, LabelScheme, colour_code, colour_of_code, format_colour

ENCODINGS = ("auto", "values", "colors")  # the setting `data.encoding`


def decide_encoding(
    survey: Mapping[Mask, MaskSummary], classes: ClassList, scheme: LabelScheme, encoding: str = "auto"
) -> tuple[LabelScheme, list[str]]:
    """Decide whether palette and RGB files are read by their values or by their colours.

    Args:
        survey: the values and colours of all masks.
        classes: the classes as they are listed.
        scheme: the class index of each value and colour.
        encoding: the setting: `values` or `colors`, or `auto`, which lets the files decide.

    Returns:
        The scheme with the decision, and a line for the user for each decision that is not the rule.

    Raises:
        ArgumentError: if `encoding` is none of these.
        HypercolumnsError: if values and colours contradict each other, and it is not certain which are right; or if
            the setting asks for the values of RGB files that have none.
    """
    check_choice("encoding", encoding, ENCODINGS)
    palettes = [(str(mask), summary) for mask, summary in survey.items() if summary.kind == "palette"]
    rgb = [(str(mask), summary) for mask, summary in survey.items() if summary.kind == "rgb"]
    notes: list[str] = []
    by_colour = _palette_by_colour(palettes, classes, scheme, encoding, notes)
    by_value = _rgb_by_value(rgb, scheme, encoding, notes)
    said = encoding != "auto"
    return replace(scheme, palette_by_colour=by_colour, rgb_by_value=by_value, encoding_said=said), notes


def _palette_by_colour(
    files: list[tuple[str, MaskSummary]], classes: ClassList, scheme: LabelScheme, encoding: str, notes: list[str]
) -> bool:
    """Decide whether palette files are read by their colours instead of their values.

    Values are the rule. Some programs renumber the values of a file and keep its colours, so the colours are compared
    with those of the classes.

    Args:
        files: the path and the summary of each palette file.
        classes: the classes as they are listed.
        scheme: the class index of each value and colour.
        encoding: the setting.
        notes: the decision is added, if it is not the rule.

    Returns:
        Whether they are read by their colours.

    Raises:
        HypercolumnsError: if values and colours contradict each other, and it is not certain which are right.
    """
    if encoding != "auto" or not files:
        return encoding == "colors"
    known = scheme.codes
    listed = {entry.value: colour_code(entry.colour) for entry in classes.entries if entry.colour is not None}
    colours: dict[int, dict[int, str]] = {}  # value -> colour -> the first file in which the value has this colour
    for path, summary in files:
        for value, code in summary.colours.items():
            if scheme.values.get(value) != IGNORE_INDEX or code in known:  # void may have any other colour
                colours.setdefault(value, {}).setdefault(code, path)
    pairs = [(value, code) for value, codes in colours.items() for code in codes]
    if all(listed.get(value) == code or scheme.values.get(value) == known.get(code, -1) for value, code in pairs):
        return False
    renumbered = next((value for value, codes in sorted(colours.items()) if len(codes) > 1), None)
    all_known = all(code in known for _, code in pairs)
    if all_known and classes.has_colours:
        notes.append("palette masks are read by their colours, because their indices are not those of the classes")
        return True
    choose = "set data.encoding=values if the indices are right, or data.encoding=colors if the colours are"
    if renumbered is not None:
        (first, one), (second, other), *_ = colours[renumbered].items()
        raise HypercolumnsError(
            f"the palettes of the masks differ: the index {renumbered} is {format_colour(colour_of_code(first))} in "
            f"{one}, but {format_colour(colour_of_code(second))} in {other}; a program may have renumbered the "
            f"indices: give the colours of the classes by data.palette, or {choose}"
        )
    grey = all(colour_of_code(code) == (value, value, value) for value, code in pairs)
    if grey or not (all_known or classes.has_colours):
        return False
    value, code = next(
        (value, code)
        for value, code in sorted(pairs)
        if listed.get(value) != code and scheme.values.get(value) != known.get(code, -1)
    )
    raise HypercolumnsError(
        f"the index {value} in the palette masks has the colour {format_colour(colour_of_code(code))}, "
        f"{_whose(known.get(code), scheme)}, but its value is that {_whose(scheme.values.get(value), scheme)}; {choose}"
    )


def _whose(index: int | None, scheme: LabelScheme) -> str:
    if index is None:
        return "of no class"
    return "of void" if index == IGNORE_INDEX else f"of class {scheme.classes[index]}"


def _rgb_by_value(files: list[tuple[str, MaskSummary]], scheme: LabelScheme, encoding: str, notes: list[str]) -> bool:
    """Decide whether RGB files are read by the values of their equal channels instead of their colours.

    Args:
        files: the path and the summary of each RGB file.
        scheme: the class index of each value and colour.
        encoding: the setting.
        notes: the decision is added, if it is not the rule.

    Returns:
        Whether they are read by their values.

    Raises:
        HypercolumnsError: if the user asks for values, but the channels of a file differ.
    """
    if encoding == "colors" or not files:
        return encoding == "values"
    used = {code: path for path, summary in files for code in summary.counts}
    coloured = next(((path, code) for code, path in used.items() if len(set(colour_of_code(code))) > 1), None)
    if encoding == "values":
        if coloured is not None:
            path, code = coloured
            raise HypercolumnsError(
                f"data.encoding=values, but {path} is an RGB mask whose channels differ, as in "
                f"{format_colour(colour_of_code(code))}, so its pixels have no values; leave data.encoding out to read "
                f"RGB masks by their colours"
            )
        return True
    if {*used} <= {*scheme.codes} or coloured is not None:
        return False
    notes.append("RGB masks are grey, so they are read by the values of their channels")
    return True
