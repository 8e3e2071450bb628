"""What the masks of a whole data set tell about the meaning of their values and colours."""

import json

import numpy as np
import pytest
from PIL import Image

from hypercolumns.data import folder
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.labelling import LabelSettings, label_scheme
from hypercolumns.data.mask_survey import survey_masks
from hypercolumns.data.void_names import means_void
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import voc_palette

NAMES = ["background", "road", "car"]
VALUES = np.array([[0, 1, 2, 1], [2, 2, 0, 255]], np.uint8)
OWN = {"background": (9, 9, 9), "road": (10, 20, 30), "car": (0, 128, 0)}  # the colour of car is VOC's for road's index


def palette_image(values, colours):
    image = Image.fromarray(values)
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def coloured(values, colours):
    return Image.fromarray(np.array(colours, np.uint8)[values])


@pytest.fixture
def place(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    return tmp_path


def data_set(place, masks, classes=NAMES):
    """Write the masks and return the index of the data set; each mask is a picture or an array of values."""
    for number, mask in enumerate(masks):
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        Image.new("RGB", picture.size).save(place / f"images/{number}.png")
        picture.save(place / f"masks/{number}.png")
    listed = place / "classes.txt"
    if isinstance(classes, dict):
        listed.write_text("".join(f"{name}:{','.join(map(str, colour))}::\n" for name, colour in classes.items()))
    else:
        listed.write_text("\n".join(classes))
    return folder(place / "images", place / "masks", listed, name="mine")


def decide(place, images, **said):
    return label_scheme(images, survey_masks(images, place / "checks"), LabelSettings(**said))


def labels(place, scheme, number=0):
    return read_mask(place / f"masks/{number}.png", scheme).tolist()


def test_values_of_grey_and_palette_masks(place):
    images = data_set(place, [VALUES, palette_image(VALUES, voc_palette(256))])
    scheme, notes = decide(place, images)
    assert notes == []
    assert labels(place, scheme, 0) == labels(place, scheme, 1) == VALUES.tolist()


def test_colours_decide_in_any_order_of_classes(place):
    """CVAT sorts labelmap.txt by name, and its masks hold colours."""
    listed = {name: OWN[name] for name in ("car", "background", "road")}
    inside = np.where(VALUES == 255, 0, VALUES)
    colours = [OWN[name] for name in NAMES]
    images = data_set(place, [coloured(inside, colours), palette_image(inside, colours)], listed)
    scheme, notes = decide(place, images)
    assert scheme.classes == ("car", "background", "road")
    for number in (0, 1):
        named = [[scheme.classes[label] for label in row] for row in labels(place, scheme, number)]
        assert named == [[NAMES[value] for value in row] for row in inside.tolist()]
    assert notes == ["palette masks are read by their colours, because their indices are not those of the classes"]


def test_renumbered_palettes_are_read_by_colour(place):
    """A lossless optimiser gives the colours of each file new numbers."""
    inside = np.where(VALUES == 255, 0, VALUES)
    colours = voc_palette(3)
    other = palette_image((inside + 1) % 3, [colours[2], colours[0], colours[1]])
    plain, renumbered = palette_image(inside, colours), other
    listed = dict(zip(NAMES, colours, strict=True))
    scheme, notes = decide(place, data_set(place, [plain, renumbered], listed))
    assert len(notes) == 1
    assert labels(place, scheme, 0) == labels(place, scheme, 1) == inside.tolist()
    message = r"the index 0 is \(0, 0, 0\) in .*0\.png, but \(0, 128, 0\) in .*1\.png; a program may have renumbered"
    with pytest.raises(HypercolumnsError, match=message):
        decide(place, data_set(place, [plain, renumbered], NAMES))


def test_permuted_voc_palette_asks(place):
    colours = [(0, 0, 0), (0, 128, 0), (128, 0, 0)]
    images = data_set(place, [palette_image(np.where(VALUES == 255, 0, VALUES), colours)] * 2)
    with pytest.raises(
        HypercolumnsError, match=r"index 1 .* \(0, 128, 0\), of class car, .* of class road; set data.enc"
    ):
        decide(place, images)
    scheme, _ = decide(place, images, encoding="values")
    assert labels(place, scheme) == np.where(VALUES == 255, 0, VALUES).tolist()


def test_colours_need_a_list_with_colours(place):
    inside = np.where(VALUES == 255, 0, VALUES)
    images = data_set(place, [coloured(inside, voc_palette(3))] * 2)
    with pytest.raises(HypercolumnsError, match=r"0.png holds colours, but .*classes.txt names no colours; .*=voc"):
        decide(place, images)


def test_grey_rgb_masks_hold_values(place):
    """Supervisely writes its machine masks as RGB with three equal channels."""
    scheme, notes = decide(place, data_set(place, [np.stack([VALUES] * 3, -1)] * 2))
    assert labels(place, scheme) == VALUES.tolist()
    assert notes == ["RGB masks are grey, so they are read by the values of their channels"]


def test_coloured_rgb_masks_have_no_values(place):
    """The channels of a colour could be taken for three different values."""
    inside, listed = np.where(VALUES == 255, 0, VALUES), dict(zip(NAMES, voc_palette(3), strict=True))
    images = data_set(place, [np.stack([inside] * 3, -1), coloured(inside, voc_palette(3))], listed)
    message = (
        r"data\.encoding=values, but .*1\.png is an RGB mask whose channels differ, as in .*leave data\.encoding out"
    )
    with pytest.raises(HypercolumnsError, match=message):
        decide(place, images, encoding="values")
    with pytest.raises(HypercolumnsError, match=r"the mask .* holds colours that are no class's: 2 colours"):
        decide(place, images)
    assert decide(place, data_set(place, [np.stack([inside] * 3, -1)] * 2), encoding="values")[0].rgb_by_value


@pytest.mark.parametrize("channels", [1, 3])
def test_binary_masks_ask(place, channels):
    binary = np.where(VALUES == 2, 255, 0).astype(np.uint8)
    masks = [binary if channels == 1 else np.stack([binary] * 3, -1)] * 2
    images = data_set(place, masks, ["background", "object"])
    with pytest.raises(HypercolumnsError, match=r'2 masks hold only the values 0 and 255.*"data.map={255: object}" if'):
        decide(place, images)
    scheme, _ = decide(place, images, map={255: "object"})
    assert labels(place, scheme) == (VALUES == 2).astype(int).tolist()
    with pytest.raises(HypercolumnsError, match="has a pixel of object"):
        decide(place, images, void=255)


def test_values_of_no_class_are_named_once(place):
    masks = [VALUES, np.where(VALUES == 1, 11, VALUES).astype(np.uint8), np.full((2, 4), 12, np.uint8)]
    images = data_set(place, masks)
    message = (
        r"the mask .* holds values that are no class: 11 to 12; 3 classes "
        r".*set data.void=\[11,12,255\]; .*map={11: NAME}"
    )
    with pytest.raises(HypercolumnsError, match=message):
        decide(place, images)
    scheme, _ = decide(place, images, void=[11, 12, 255])
    assert labels(place, scheme, 1) == np.where(VALUES == 1, 255, VALUES).tolist()


def test_colours_of_no_class_are_named_once(place):
    masks = [coloured(np.full((2, 4), value, np.uint8), voc_palette(60)) for value in (0, 21, 58)]
    classes = dict(zip([str(number) for number in range(21)], voc_palette(21), strict=True))
    message = (
        r"2 colours, such as .*Pascal VOC's colours of the values 21, 58, so .*classes.txt may list too few classes"
    )
    with pytest.raises(HypercolumnsError, match=message):
        decide(place, data_set(place, masks, classes))
    smoothed = [coloured(VALUES % 3, [(0, 0, 0), (128, 0, 0), (3, 4, 5)])] * 3
    with pytest.raises(HypercolumnsError, match=r"such as \(3, 4, 5\)\. Give the colour of each class"):
        decide(place, data_set(place, smoothed, classes))


@pytest.mark.parametrize("name", ["void", "Unlabelled", "__ignore__", "no-data"])
def test_names_that_mean_void_ask(place, name):
    images = data_set(place, [VALUES % 4] * 2, [*NAMES, name])
    with pytest.raises(
        HypercolumnsError, match=f"class {name} may mean pixels without a class; set data.void={name} to"
    ):
        decide(place, images)
    assert decide(place, images, void=name)[0].classes == tuple(NAMES)
    assert decide(place, images, void=255)[0].classes == (*NAMES, name)


@pytest.mark.parametrize(
    "name",
    [
        *("no-data", "nodata", "no_label", "not_labelled", "not labeled", "unlabeled_area", "Unclassified", "N/A"),
        *(
            "null",
            "missing",
            "Don't-care",
            "don\u2019t care",
            "void/other",
            "unlabeled (ignore)",
            "out of ROI",
            "void 2",
        ),
        *("No data value", "unknown pixels", "Unannotated", "undefined"),
    ],
)
def test_forms_of_void_names(name):
    assert means_void(name)


@pytest.mark.parametrize(
    "name",
    [
        *("unknown vehicle", "missing person", "other", "area", "no", "label", "data center", "void deck", "avoid"),
        *("nation", "no parking area", "nullarbor", "背景 void", "background", "7", "other vehicle"),
    ],
)
def test_ordinary_names_are_not_void(name):
    assert not means_void(name)


def test_cut_palette_asks(place):
    """Pillow saves a palette of four colours with 2 bits and cuts the void 255 to 3."""
    images = data_set(place, [VALUES, VALUES], [*NAMES, "sign"])
    for number in (0, 1):
        palette_image(VALUES, [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]).save(place / f"masks/{number}.png")
    with pytest.raises(
        HypercolumnsError, match=r"0\.png has 2 bits .* highest index 3 may be a void of 255 .*void=3 if"
    ):
        decide(place, images)
    scheme, _ = decide(place, images, void=3)
    assert labels(place, scheme) == VALUES.tolist()
    assert decide(place, images, void=255)[0].classes == (*NAMES, "sign")


def test_class_without_a_pixel_asks(place):
    images = data_set(place, [VALUES, VALUES], [*NAMES, "sign"])
    with pytest.raises(HypercolumnsError, match="data mine: no mask of any split has a pixel of sign; check that"):
        decide(place, images)
    assert decide(place, images, missing_classes="allow")[0].classes == (*NAMES, "sign")


def test_classes_without_values_refuse_values(place):
    """Supervisely's meta.json names the classes and colours, but not the values of the machine masks."""
    images = data_set(place, [VALUES, VALUES])
    meta = {"classes": [{"title": name, "color": f"#{bytes(colour).hex()}"} for name, colour in OWN.items()]}
    (place / "meta.json").write_text(json.dumps(meta))
    images = folder(place / "images", place / "masks", place / "meta.json", name="mine")
    with pytest.raises(HypercolumnsError, match=r"values that are no class: 0 to 2; .* known values are 255"):
        decide(place, images)


def test_survey_is_saved_and_follows_the_files(place):
    images = data_set(place, [VALUES, VALUES])
    first = survey_masks(images, place / "checks")
    saved = (place / "checks/masks.json").read_text()
    assert survey_masks(images, place / "checks") == first
    assert (place / "checks/masks.json").read_text() == saved
    Image.fromarray(np.zeros((2, 5), np.uint8)).save(place / "masks/1.png")
    assert [sum(summary.counts.values()) for summary in survey_masks(images, place / "checks").values()] == [8, 10]
    (place / "masks/0.png").write_bytes(b"damaged")
    assert len(survey_masks(images, place / "checks")) == 1


def test_settings_must_be_known(place):
    images = data_set(place, [VALUES, VALUES])
    for setting in ("encoding", "missing_classes"):
        with pytest.raises(HypercolumnsError, match=f"{setting}=other must be one of"):
            decide(place, images, **{setting: "other"})


def test_list_of_voc_has_colours():
    assert ClassList.of_voc(NAMES).has_colours
    assert not ClassList.of(NAMES).has_colours


def test_value_255_can_be_a_class(place):
    """A listed or mapped value is a class, although 255 is void by default."""
    images = data_set(place, [np.where(VALUES == 2, 255, VALUES % 255).astype(np.uint8)] * 2)
    (place / "classes.csv").write_text("value,class\n0,background\n1,road\n255,car\n")
    listed = folder(place / "images", place / "masks", place / "classes.csv", name="mine")
    assert decide(place, listed)[0].values == {0: 0, 1: 1, 255: 2}
    mapped, _ = decide(place, images, map={255: "car"})
    assert mapped.values == {0: 0, 1: 1, 2: 2, 255: 2}


def test_binary_masks_among_others_ask(place):
    """One annotator wrote 0 and 255, another one 0 and 1."""
    binary = [np.where(VALUES == 2, 255 if number % 2 else 1, 0).astype(np.uint8) for number in range(4)]
    with pytest.raises(HypercolumnsError, match="2 masks hold only the values 0 and 255"):
        decide(place, data_set(place, binary, ["background", "road"]))


def test_cut_palette_beside_whole_ones_asks(place):
    images = data_set(place, [VALUES, VALUES], [*NAMES, "sign"])
    palette_image(VALUES, [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]).save(place / "masks/0.png")
    with pytest.raises(HypercolumnsError, match="may be a void of 255"):
        decide(place, images)


def test_small_palettes_of_colours_are_not_cut(place):
    """A file with two colours has 1 bit; its index 1 is no void if the masks are read by their colours."""
    listed = dict(zip(NAMES, voc_palette(3), strict=True))
    two = palette_image((VALUES == 2).astype(np.uint8), [voc_palette(3)[1], voc_palette(3)[2]])
    scheme, _ = decide(place, data_set(place, [palette_image(VALUES % 3, voc_palette(3)), two], listed))
    assert labels(place, scheme, 1) == np.where(VALUES == 2, 2, 1).tolist()


def test_damaged_mask_hides_no_missing_class(place):
    images = data_set(place, [VALUES] * 3, [*NAMES, "sign"])
    (place / "masks/1.png").write_bytes(b"x")
    with pytest.raises(HypercolumnsError, match="has a pixel of sign"):
        decide(place, images)
    _, notes = label_scheme(images, survey_masks(images, place / "checks"), LabelSettings(), strict=False)
    assert "has a pixel of sign" in notes[0]
