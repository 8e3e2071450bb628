"""Compare predicted labels with true masks, image by image, while a prediction is running."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from hypercolumns.data.class_list import ClassEntry, ClassList
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.labelling import check_binary
from hypercolumns.data.mask_encoding import decide_encoding
from hypercolumns.data.near_masks import nearest_mask
from hypercolumns.data.pairing import find_mask
from hypercolumns.errors import ArgumentError, HypercolumnsError, shorten_list
from hypercolumns.evaluation import BOUNDARY_WIDTH, Evaluation, ImageConfusion, count_image
from hypercolumns.io.mask_source import Mask
from hypercolumns.io.masks import MaskSummary, format_values, read_mask, summarise_mask
from hypercolumns.labels import IGNORE_INDEX, LabelScheme
from hypercolumns.overrides import format_override
from hypercolumns.prediction.outputs import OUTPUTS
from hypercolumns.prediction.sources import Source


class GroundTruth:
    """Compare predicted labels with the true masks in a folder, and collect two confusion matrices for each image.

    The true mask of an image is the file `<name>.png` in the folder, or a TIFF or BMP file of this name, where `<name>`
    is `Frame.name`. See `ImageConfusion` for the matrices.

    Args:
        masks: the folder of the true masks.
        sources: the inputs that will be predicted. The constructor checks that each image file among them has a mask.
            The mask of a video frame is looked for only when `compare` is called.
        scheme: the rule of the model by which masks become class indices.

    Attributes:
        notes: what was decided about the masks; a line each, for the user.

    Raises:
        ArgumentError: if `masks` is not a folder, or if the mask of an image file is missing in this folder.
        HypercolumnsError: if the masks seem to be binary masks of 0 and 255, or if their values and their colours
            contradict each other.
    """

    def __init__(self, masks: Path, sources: Sequence[Source], scheme: LabelScheme) -> None:
        self.folder, self.classes = masks, scheme.classes
        self._counts: dict[str, ImageConfusion] = {}
        if not masks.is_dir():
            raise ArgumentError(
                f"masks={masks} is not a folder; give the folder of the true masks, or leave out masks= to predict "
                f"without scoring"
            )
        images = [source for source in sources if not source.video]
        paths = [self._path(source.name) for source in images]
        pairs = [
            ImageMaskPair(source.name, Path(source.path), path) for source, path in zip(images, paths, strict=True)
        ]
        missing = [pair for pair, path in zip(pairs, paths, strict=True) if not path.is_file()]
        if missing:
            outputs = (masks / output.file(pair.id) for pair in pairs for output in OUTPUTS.values())
            near = nearest_mask(missing, {*paths, *(pair.image for pair in pairs), *outputs})
            which = f"{missing[0].mask}; add the masks" if near is None else near.describe(_by_evaluation)
            raise ArgumentError(
                f"masks={masks} has no mask for {len(missing)} of the images, such as {which}, or leave out masks= to "
                f"predict without scoring"
            )
        self.scheme, self.notes = _scheme(masks, paths, scheme)

    def compare(self, name: str, labels: Tensor) -> None:
        """Compare an image's predicted labels with its true mask, and store the confusion matrices for `evaluation`.

        `name` is `Frame.name`. `labels` are (H, W) class indices on the CPU.

        Raises:
            HypercolumnsError: if the mask is missing or invalid (see `io.masks.read_mask`), or if it does not have the
                size of the labels.
        """
        path = self._path(name)
        truth = read_mask(path, self.scheme)
        if truth.shape != labels.shape:
            raise HypercolumnsError(
                f"the mask {path} is {truth.shape[1]}x{truth.shape[0]}, but its image is "
                f"{labels.shape[1]}x{labels.shape[0]}; replace the mask with one of the image's size"
            )
        self._counts[name] = count_image(name, labels, truth, len(self.classes), BOUNDARY_WIDTH)

    def evaluation(self) -> Evaluation:
        """Return the confusion matrices that `compare` has stored, sorted by the names of the images."""
        return Evaluation.of([self._counts[name] for name in sorted(self._counts)], self.classes, BOUNDARY_WIDTH)

    def _path(self, name: str) -> Path:
        return find_mask([self.folder], name)


def _scheme(folder: Path, paths: Sequence[Path], trained: LabelScheme) -> tuple[LabelScheme, list[str]]:
    """Decide whether palette and RGB masks are read by their values or by their colours.

    Args:
        folder: the folder of the masks, for the message.
        paths: the mask files.
        trained: the scheme of the masks that the model was trained with.

    Returns:
        The scheme, and lines for the user.

    Raises:
        HypercolumnsError: if it is not certain what the values mean.
    """
    survey: dict[Mask, MaskSummary] = {}
    for path in paths:
        with suppress(HypercolumnsError):  # `compare` reports a file that can't be used
            survey[path] = summarise_mask(path)
    scheme = trained
    notes: list[str] = []
    try:
        if not trained.void_said:
            check_binary(survey.values(), trained)
        if not trained.encoding_said:
            scheme, notes = decide_encoding(survey, _class_list(trained), trained)
    except HypercolumnsError as error:
        raise HypercolumnsError(
            f"masks={folder}: {error}. predict.py has no settings for this: leave out masks=, and score the "
            f"predictions by train.py stage=evaluate predictions=FOLDER with the settings data.* of the training"
        ) from error
    usual = LabelScheme.of(trained.classes, trained.palette)
    if (trained.values, trained.palette_by_colour) != (usual.values, False):
        notes.append(f"the masks are read like those of the training: {_describe(trained)}")
    return scheme, notes


def _by_evaluation(pattern: str) -> str:
    """Say how predictions are scored by masks of other names."""
    named = format_override("data.mask_name", pattern)
    return f"score the predictions by train.py stage=evaluate predictions=FOLDER data=folder {named}"


def _class_list(scheme: LabelScheme) -> ClassList:
    """Return the values of a scheme as a list, in which several may have the name and the colour of one class."""
    entries = tuple(
        ClassEntry(scheme.classes[index], value, scheme.palette[index] if scheme.own_colours else None)
        for value, index in scheme.values.items()
        if index != IGNORE_INDEX
    )
    return ClassList(entries)


def _describe(scheme: LabelScheme) -> str:
    """Return the values of each class as in "void is 0; road is 7, 8"; of at most ten classes."""
    if not scheme.values:
        return "each pixel has the colour of its class"
    of_class: dict[str, list[int]] = {}
    for value, index in sorted(scheme.values.items()):
        of_class.setdefault("void" if index == IGNORE_INDEX else scheme.classes[index], []).append(value)
    return shorten_list([f"{name} is {format_values(values)}" for name, values in of_class.items()], "; ")
