"""Decide from all masks of a data set what their values and colours mean, and stop where they do not tell.

A mask file does not say what its numbers mean. One file alone often can't show a mistake, but all files together can: a
value that no class has, a class without a pixel, the same index in different colours.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hypercolumns.data.class_list import ClassList, ClassMap, Void
from hypercolumns.data.index import DatasetIndex
from hypercolumns.data.mask_encoding import decide_encoding
from hypercolumns.data.void_names import means_void
from hypercolumns.errors import HypercolumnsError, check_choice, shorten_list
from hypercolumns.io.mask_source import Mask
from hypercolumns.io.masks import MaskSummary, format_values
from hypercolumns.labels import (
    IGNORE_INDEX,
    LabelScheme,
    colour_code,
    colour_of_code,
    format_colour,
    voc_palette,
)
from hypercolumns.overrides import format_mapping, format_override, quote_word


@dataclass(frozen=True)
class LabelSettings:
    """What the user says about the meaning of masks.

    Attributes:
        void: the values or class names that are void, see `ClassList.scheme`; None: the user does not say.
        map: the classes that values or class names become, see `ClassList.scheme`.
        encoding: `values` or `colors`: what the pixels of palette and RGB files stand for; `auto`: decide by the files.
        missing_classes: `error` or `allow` a class that has no pixel in any mask.
    """

    void: Void = None
    map: ClassMap | None = None
    encoding: str = "auto"
    missing_classes: str = "error"


def label_scheme(
    images: DatasetIndex, survey: Mapping[Mask, MaskSummary], said: LabelSettings, strict: bool = True
) -> tuple[LabelScheme, list[str]]:
    """Decide how the masks of a data set are turned into class indices.

    Args:
        images: the data set.
        survey: the values and colours of its masks.
        said: the settings of the user.
        strict: whether a value or a colour of no class is an error. If not, it is a line for the user, because the
            check of the files reports each mask that holds it.

    Returns:
        The scheme, and a line for each decision that the file format does not make, for the user.

    Raises:
        ArgumentError: if a setting is invalid.
        HypercolumnsError: if the masks do not fit the classes, or if what they mean is not certain. The message names
            the settings that decide.
    """
    check_choice("missing_classes", said.missing_classes, ("error", "allow"))
    scheme = images.class_list.scheme(said.void, said.map)
    summaries = list(survey.values())
    try:
        scheme, notes = decide_encoding(survey, images.class_list, scheme, said.encoding)
        coloured = next((mask for mask, summary in survey.items() if _colours(summary, scheme)), None)
        if not images.class_list.has_colours and coloured is not None:
            raise HypercolumnsError(
                f"{coloured} holds colours, but {images.class_list.source} names no colours; give a class list with "
                f"colours, such as a labelmap.txt, or data.palette=<a file with a line R G B for each class>, or "
                f"data.palette=voc if the first classes have the colours (0, 0, 0), (128, 0, 0), (0, 128, 0) and so on "
                f"of Pascal VOC"
            )
        if said.void is None:
            _check_void_names(scheme, images.class_list)
            check_binary(summaries, scheme)
            if not scheme.palette_by_colour:
                _check_cut_palettes(survey, scheme)
        try:
            _check_known(survey, scheme, images.class_list)
        except HypercolumnsError as error:
            if strict:
                raise
            return scheme, [*notes, str(error)]  # until the values are known, a class may only seem to have no pixel
        pixels = sum((class_pixels(summary, scheme) for summary in summaries), Counter())
        missing = _missing_classes(pixels, scheme, images.class_list) if said.missing_classes == "error" else None
        if missing and survey:
            if strict or len(survey) == len({pair.mask for pairs in images.splits.values() for pair in pairs}):
                raise HypercolumnsError(missing)
            notes.append(missing)  # the masks that can't be read may have this class
    except HypercolumnsError as error:
        raise type(error)(f"data {images.name}: {error}") from error
    return scheme, notes


def _check_void_names(scheme: LabelScheme, classes: ClassList) -> None:
    named = [name for name in scheme.classes if means_void(name)]
    if named:
        others = "none" if classes.own_void else IGNORE_INDEX  # annotation files have no values that users know
        raise HypercolumnsError(
            f"the class {named[0]} may mean pixels without a class; set {format_override('data.void', named[0])} to "
            f"neither train on them nor score them, or data.void={others} if it is a class like the others"
        )


def check_binary(summaries: Iterable[MaskSummary], scheme: LabelScheme) -> None:
    """Raise HypercolumnsError if masks hold 255 beside 0 only, as binary masks do: 255 is then a class and not void."""
    if scheme.values.get(IGNORE_INDEX) != IGNORE_INDEX:
        return
    used = [{*_values(summary, scheme)} for summary in summaries]
    binary = [values for values in used if IGNORE_INDEX in values and values <= {0, IGNORE_INDEX}]
    with_class = [values for values in used if IGNORE_INDEX in values and not values <= {0, IGNORE_INDEX}]
    if binary and len(binary) > len(with_class):
        several = len(scheme.classes) > 1
        name = scheme.classes[1 if several else 0]
        word = quote_word(f"data.map={format_mapping(({} if several else {0: 'background'}) | {IGNORE_INDEX: name})}")
        raise HypercolumnsError(
            f"{len(binary)} masks hold only the values 0 and {IGNORE_INDEX}, as binary masks do, and {IGNORE_INDEX} "
            f"would be void; set {word} if these pixels are of class {name}, or data.void={IGNORE_INDEX} if they are "
            f"void"
        )


def _check_cut_palettes(survey: Mapping[Mask, MaskSummary], scheme: LabelScheme) -> None:
    """Raise HypercolumnsError if the highest value of small palette files may be a void of 255 that was cut.

    Pillow saves a palette of up to 16 colours with 1, 2 or 4 bits, and cuts larger values to these bits.
    """
    for path, summary in survey.items():
        top = (1 << summary.bits) - 1
        small = summary.kind == "palette" and summary.bits < 8
        if small and top in summary.counts and scheme.values.get(top, IGNORE_INDEX) != IGNORE_INDEX:
            raise HypercolumnsError(
                f"{path} has {summary.bits} bits for an index, and its highest index {top} may be a void of "
                f"{IGNORE_INDEX} that a program has cut to these bits; set data.void={top} if so, or "
                f"data.void={IGNORE_INDEX} if {top} is class {scheme.classes[scheme.values[top]]}"
            )


def _values(summary: MaskSummary, scheme: LabelScheme) -> dict[int, int]:
    """Return the number of pixels of each value; {} for a file that is read by its colours."""
    if summary.kind == "rgb":
        return {code & 255: count for code, count in summary.counts.items()} if scheme.rgb_by_value else {}
    return {} if summary.kind == "palette" and scheme.palette_by_colour else summary.counts


def _colours(summary: MaskSummary, scheme: LabelScheme) -> dict[int, int]:
    """Return the number of pixels of each colour; {} for a file that is read by its values."""
    if summary.kind == "rgb":
        return {} if scheme.rgb_by_value else summary.counts
    if summary.kind == "palette" and scheme.palette_by_colour:
        return {summary.colours.get(value, -1): count for value, count in summary.counts.items()}
    return {}


def class_pixels(summary: MaskSummary, scheme: LabelScheme) -> Counter[int]:
    """Return the number of pixels of each class index in a mask; 255 for void, and -1 for those of no class."""
    pixels: Counter[int] = Counter()
    for value, count in _values(summary, scheme).items():
        pixels[scheme.values.get(value, -1)] += count
    for code, count in _colours(summary, scheme).items():
        pixels[scheme.codes.get(code, -1)] += count
    return pixels


def _check_known(survey: Mapping[Mask, MaskSummary], scheme: LabelScheme, classes: ClassList) -> None:
    """Raise HypercolumnsError if values or colours belong to no class. The message is about all masks together."""
    values: dict[int, list[Mask]] = defaultdict(list)  # the masks that hold each value of no class
    colours: dict[int, list[Mask]] = defaultdict(list)
    for mask, summary in survey.items():
        for value in _values(summary, scheme):
            if value not in scheme.values:
                values[value].append(mask)
        for code in _colours(summary, scheme):
            if code not in scheme.codes:
                colours[code].append(mask)
    _check_values(values, scheme, classes)
    _check_colours(colours, scheme, classes)


def _some_masks(unknown: Mapping[int, Sequence[Mask]], verb: str) -> str:
    """Say how many masks do something, and name one of them."""
    masks = max(unknown.values(), key=len)
    if len(masks) == 1:
        return f"the mask {masks[0]} {verb}s"
    return f"{len(masks)} masks, such as {masks[0]}, {verb}"


def _check_values(unknown: Mapping[int, Sequence[Mask]], scheme: LabelScheme, classes: ClassList) -> None:
    """Raise HypercolumnsError if there are values of no class; `unknown` has the masks of each."""
    if not unknown:
        return
    values = sorted(unknown)
    void = sorted({value for value, index in scheme.values.items() if index == IGNORE_INDEX} | set(values))
    as_list = str(void).replace(" ", "") if len(void) < 20 else "[...]"
    raise HypercolumnsError(
        f"{_some_masks(unknown, 'hold')} values that are no class: {format_values(values)}; "
        f"{len(classes.entries)} classes are listed in {classes.source}, and known values are "
        f"{format_values(scheme.values) or 'none'}. If these values are void, set data.void={as_list}; if they are "
        f"classes, list all classes, or name their classes by data.map={{{values[0]}: NAME}}"
    )


def _check_colours(unknown: Mapping[int, Sequence[Mask]], scheme: LabelScheme, classes: ClassList) -> None:
    """Raise HypercolumnsError if there are colours of no class; `unknown` has the masks of each."""
    if not unknown:
        return
    voc = {colour_code(colour): value for value, colour in enumerate(voc_palette(IGNORE_INDEX))}
    if all(code in voc for code in unknown):
        values = [voc[code] for code in unknown]
        hint = (
            f"These are Pascal VOC's colours of the values {format_values(values)}, so {classes.source} may list too "
            f"few classes: list all classes"
        )
    else:
        hint = (
            "Give the colour of each class by data.palette, or by a file data.classes that names the colours; to make "
            "a colour void, list it as a class, and name this class by data.void"
        )
    colours = [
        format_colour(colour_of_code(code))
        for code in sorted(unknown, key=lambda code: -len(unknown[code]))
        if code >= 0
    ]
    raise HypercolumnsError(
        f"{_some_masks(unknown, 'hold')} colours that are no class's: {len(unknown)} colours, such as "
        f"{shorten_list(colours[:5])}. {hint}; pixels whose colour is smoothed between two classes must be corrected "
        f"in the masks"
    )


def _missing_classes(pixels: Mapping[int, int], scheme: LabelScheme, classes: ClassList) -> str | None:
    """Return a message that names the classes without a pixel; None if there are none."""
    missing = [name for index, name in enumerate(scheme.classes) if not pixels.get(index)]
    if not missing:
        return None
    mapping = format_mapping({missing[0]: "NAME"})
    merge = "" if mapping is None else f"merge the class with another by {quote_word(f'data.map={mapping}')}, "
    remedy = (
        f"{merge}set data.unannotated=void if it is the class of pixels without an object and there are none,"
        if classes.own_void  # the masks are drawn from annotations
        else f"check that {classes.source} lists the classes in the order of the values in the masks,"
    )
    return f"no mask of any split has a pixel of {shorten_list(missing)}; {remedy} or set data.missing_classes=allow"
