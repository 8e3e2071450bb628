"""Data sets whose layout is recognised."""

import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypercolumns.data.class_files import Classes, Colours
from hypercolumns.data.datasets.coco import coco
from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.datasets.label_studio import label_studio
from hypercolumns.data.datasets.labelme import labelme
from hypercolumns.data.datasets.sbd import sbd
from hypercolumns.data.datasets.voc import voc
from hypercolumns.data.index import DatasetIndex
from hypercolumns.data.layout import Layout
from hypercolumns.data.layouts import find_class_file, recognise
from hypercolumns.data.left_out import check_left_out
from hypercolumns.errors import ArgumentError, HypercolumnsError, shorten_list
from hypercolumns.io.files import expand_path
from hypercolumns.io.mask_source import has_mask
from hypercolumns.io.masks import format_values, summarise_mask
from hypercolumns.labels import colour_of_code, format_colour
from hypercolumns.overrides import format_override
from hypercolumns.runtime.progress import console

OF_MASKS: dict[str, Callable[..., DatasetIndex]] = {"folder": folder, "voc": voc}  # a file must list the classes
MAX_MASKS = 20  # masks that are read to say what they hold
# The classes are known, or named by the files.
OF_ANNOTATIONS: dict[str, Callable[..., DatasetIndex]] = {
    "coco": coco,
    "coco_panoptic": functools.partial(coco, task="panoptic", unannotated="void"),  # as conf/data/coco_panoptic.yaml
    "labelme": labelme,
    "label_studio": label_studio,
    "sbd": sbd,
}


def auto(
    root: str | Path | None,
    classes: Classes | None = None,
    palette: Colours | None = None,
    name: str | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index a folder whose layout is recognised, and print the settings that say the same.

    Args:
        root: the folder.
        classes: a file that lists the classes, or their names, see `class_files.class_list`. By default, a file in the
            folder that a tool wrote, such as labelmap.txt, or classes.txt; or the classes in annotation files.
        palette: the classes' colours, see `class_files.class_list`. `voc`: Pascal VOC's colours.
        name: the name of the data set, and of the folder of its runs; by default, the name of the folder.
        val_fraction: the fraction of the images, in (0, 1), that a random split assigns to val.
        split_seed: the seed of the random split.

    Returns:
        The index of both splits.

    Raises:
        ArgumentError: if the folder does not exist, if its layout is not known or has a data set of its own, or if no
            class list is found.
    """
    if root is None:
        raise ArgumentError("root=null: data=auto needs the folder of the data set; give data.root=FOLDER")
    path = expand_path("root", root)
    listed = find_class_file(path)
    layout = recognise(path, own_classes=classes is not None or listed is not None)
    reader = (OF_MASKS | OF_ANNOTATIONS).get(layout.kind)
    if reader is None:
        raise ArgumentError(f"root={root} has {layout.what}; read it by {layout.overrides()}")
    overrides = layout.overrides()
    if classes is None and layout.kind in OF_MASKS:
        classes = find_class_file(layout.settings.get("root") or path) or listed
        if classes is None and not layout.classes_known:
            own = f", or {overrides} for Pascal VOC's own 21 classes" if layout.kind == "voc" else ""
            raise ArgumentError(
                f"root={root} has {layout.what} ({overrides}), but no file lists the classes"
                f"{_content(reader, layout)}; give data.classes=FILE, with the name of a class on each line in the "
                f"order of the values in the masks, or data.classes=[background,cat]{own}"
            )
    name = name or path.resolve().name
    given = {"classes": classes, "palette": palette, "name": name}
    words = [format_override(f"data.{key}", value) for key, value in given.items() if value is not None]
    console.print(f"data: {layout.what}, as {' '.join([overrides, *words])}", markup=False)
    images = reader(**layout.settings, **given, val_fraction=val_fraction, split_seed=split_seed)
    if layout.whole and (left := check_left_out(path, images, layout)):
        console.print(f"data: {left}", markup=False)
    return images


def _content(reader: Callable[..., DatasetIndex], layout: Layout) -> str:
    """Return a clause that says what some masks hold; "" if none can be read."""
    images = reader(**layout.settings, classes=["?"], name="set")
    masks = [pair.mask for pairs in images.splits.values() for pair in pairs if has_mask(pair.mask)][:MAX_MASKS]
    values: set[int] = set()
    colours: set[int] = set()
    for mask in masks:
        with suppress(HypercolumnsError):
            summary = summarise_mask(mask)
            (colours if summary.kind == "rgb" else values).update(summary.counts)
    said = [f"the values {format_values(values)}"] if values else []
    if colours:
        shown = shorten_list([format_colour(colour_of_code(code)) for code in sorted(colours)])
        said.append(f"{len(colours)} colours: {shown}")
    return f"; {len(masks)} of the masks hold {' and '.join(said)}" if said else ""
