"""labelme's files as data sets, and its shapes by hand; test_tools.py compares them with labelme itself."""

import base64
import io
import json

import numpy as np
import pytest
from helpers.annotated import box, labels, save_images
from PIL import Image

from hypercolumns.data import labelme
from hypercolumns.data.annotations.labelme import draw_labelme_shape
from hypercolumns.errors import HypercolumnsError

SIZE = (60, 70)
NAMES = ["a.png", "b.png", "c.png"]


def drawn(kind, points, mask=None, size=SIZE):
    top, left, inside = draw_labelme_shape({"shape_type": kind, "points": points, "mask": mask}, size)
    found = np.zeros(size, bool)
    found[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return found


def png(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def square(start, end):
    return [[start, start], [end, start], [end, end], [start, end]]


@pytest.mark.parametrize(
    ("kind", "points", "count", "first", "last"),
    [
        ("polygon", square(10, 20), 121, 10, 20),
        ("polygon", square(10.6, 20.6), 121, 10, 20),
        ("polygon", square(9.5, 19.5), 121, 9, 19),
        ("polygon", square(10, 19.99), 100, 10, 19),
        (None, square(10, 20), 121, 10, 20),
        ("oriented_rectangle", square(10, 20), 121, 10, 20),
        ("rectangle", [[20, 10], [10, 20]], 121, 10, 20),
        ("circle", [[30, 30], [35, 30]], 97, 25, 35),
        ("point", [[30, 30]], 97, 25, 35),
        ("line", [[30, 30], [50, 30]], 210, 26, 35),
        ("linestrip", [[30, 30], [50, 30]], 210, 26, 35),
    ],
)
def test_shapes_cover_labelme_pixels(kind, points, count, first, last):
    mask = drawn(kind, points)
    rows = mask.any(1).nonzero()[0]
    assert (mask.sum(), rows[0], rows[-1]) == (count, first, last)


def test_mask_shape_is_pasted_and_cut():
    inside = np.arange(12).reshape(3, 4) % 5 > 0
    expected = np.zeros(SIZE, bool)
    expected[20:23, 10:14] = inside
    assert (drawn("mask", [[10, 20], [13, 22]], png(inside)) == expected).all()
    assert (drawn("mask", [[9.6, 20.4], [12.7, 22.1]], png(inside)) == expected).all()
    assert (drawn("mask", [[-1, -2], [2, 0]], png(inside))[:1, :3] == inside[2:, 1:]).all()
    assert not drawn("mask", [[100, 20], [103, 22]], png(inside)).any()


@pytest.mark.parametrize(
    ("kind", "points", "mask", "message"),
    [
        ("points", square(1, 2), None, "shape_type=points is not one that labelme draws"),
        ("polygon", square(1, 2)[:2], None, "a polygon can't have 2 points"),
        ("polygon", [[1, 2, 2], [3, 4, 2], [5, 9, 2], [1, 1, 2]], None, "needs two numbers, x and y, but one has 3"),
        ("polygon", [[1, 2], [3, 4, 2], [5], [1, 1]], None, "needs two numbers, x and y, but one has 3"),
        ("circle", square(1, 2), None, "a circle can't have 4 points"),
        ("rectangle", [[0, 0], [1e9, 1]], None, "lie far outside the image of 70x60 pixels"),
        ("mask", [[0, 0], [1, 1]], None, "a mask shape needs the text of a PNG file"),
        ("mask", [[0, 0], [1, 1]], "AAAA", "its mask is not a valid PNG file"),
        ("mask", [[0, 0], [1, 1]], png(np.ones((3, 4))), "its mask has 4x3 pixels, but its box 2x2"),
    ],
)
def test_invalid_shape_is_refused(kind, points, mask, message):
    with pytest.raises(ValueError, match=message):
        drawn(kind, points, mask)


def shape(label, points=((10, 10), (20, 20)), kind="rectangle", **fields):
    return {"label": label, "points": points, "shape_type": kind, "flags": {"hard": True}, "group_id": 3, **fields}


def save(path, image, *shapes):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "7.9.1", "flags": {"night": True}, "shapes": shapes, "imagePath": image, "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}))


@pytest.fixture
def place(tmp_path):
    """Three images in a subfolder; a shape of each label, and void, with the files beside the images."""
    save_images(tmp_path / "photos/day", NAMES, SIZE)
    for name in NAMES:
        shapes = [shape("car"), shape("road", ((0, 15), (69, 59))), shape("__ignore__", ((0, 0), (69, 3)))]
        save(tmp_path / f"photos/day/{name[0]}.json", name, *shapes, shape("_background_", ((0, 50), (9, 59))))
    return tmp_path


LABELS = np.where(box(0, 15, 70, 60, SIZE), 2, np.where(box(10, 10, 21, 21, SIZE), 1, 0))
LABELS[:4] = 255
LABELS[50:60, :10] = 0


def test_all_labels_are_classes(place):
    index = labelme("photos", root=place)
    assert index.classes == ("background", "car", "road")
    assert {id: (found == LABELS).all() for id, found in labels(index).items()} == dict.fromkeys(
        ("day/a", "day/b", "day/c"), True
    )
    assert index.notes[0] == "the classes are all labels that the files have: car, road"


def test_classes_of_a_file_keep_their_order(place):
    (place / "labels.txt").write_text("__ignore__\n_background_\nroad\ncar\n")
    for classes in (place / "labels.txt", ["__ignore__", "_background_", "road", "car"]):
        index = labelme(place / "photos", classes=classes)
        assert index.classes == ("_background_", "road", "car")
        assert (labels(index)["day/a"] == np.array([0, 2, 1])[LABELS.clip(max=2)])[4:].all()
    with pytest.raises(HypercolumnsError, match=r"lacks names that the annotations have: car; list them, and merge"):
        labelme(place / "photos", classes=["_background_", "road"])


def test_files_may_lie_in_another_folder(place):
    """The path of the image in a file is relative to the file, and may be one of Windows."""
    for name in NAMES:
        (place / f"photos/day/{name[0]}.json").unlink()
        save(place / f"json/x{name[0]}.json", f"..\\photos\\day\\{name}", shape("car"))
    save(place / "json/xd.json", "../photos/d.png", shape("car"))
    pairs = [pair for of_split in labelme(place / "photos", place / "json").splits.values() for pair in of_split]
    assert sorted(pair.id for pair in pairs) == ["day/a", "day/b", "day/c", "xd"]
    assert [pair.image for pair in pairs if not pair.image.exists()] == [place / "json/../photos/d.png"]
    save(place / "json/y.json", "../photos/day/a.png")
    with pytest.raises(
        HypercolumnsError, match=r"y\.json and .*xa\.json \(image .*a\.png\) are for the same image; remo"
    ):
        labelme(place / "photos", place / "json")


def test_image_without_file_is_not_annotated(place):
    (place / "photos/day/b.json").unlink()
    save(place / "photos/day/c.json", "c.png")
    masks = {pair.id: pair.mask for of in labelme(place / "photos").splits.values() for pair in of}
    assert {id: mask.annotated for id, mask in masks.items()} == {"day/a": True, "day/b": False, "day/c": True}
    assert str(masks["day/b"]) == f"{place}/photos/day/b.json (image {place}/photos/day/b.png)"
    assert (masks["day/c"].decode().values == 0).all()


def test_wrong_arguments_and_files_are_named(place, tmp_path):
    (place / "empty").mkdir()
    with pytest.raises(HypercolumnsError, match=r"^images is not set"):
        labelme(None)
    with pytest.raises(
        HypercolumnsError, match=r"^annotations=.*empty holds no .json files; give the folder of labelme"
    ):
        labelme(place / "photos", place / "empty")
    with pytest.raises(HypercolumnsError, match=r"^annotations=.*other is not a folder"):
        labelme(place / "photos", place / "other")
    (place / "photos/x.json").write_text('{"shapes": []}')
    with pytest.raises(
        HypercolumnsError, match=r"^annotations: .*x\.json is not a labelme file \(KeyError\('imagePath'"
    ):
        labelme(place / "photos")
    (place / "photos/x.json").write_text('{"shapes": [}')
    with pytest.raises(
        HypercolumnsError, match=r"^annotations=.*x\.json is not valid JSON .*; export the file again, or"
    ):
        labelme(place / "photos")


def test_ignore_on_top_is_void(tmp_path):
    """labelme draws shapes in the order of the file, also those that are ignored."""
    save_images(tmp_path, NAMES)
    for number, name in enumerate(NAMES):
        shapes = [{"label": "road", "shape_type": "rectangle", "points": [[0, 0], [11, 8]]}]
        if number == 0:
            shapes.append({"label": "__ignore__", "shape_type": "rectangle", "points": [[2, 2], [4, 5]]})
        content = {"version": "5", "imagePath": name, "imageHeight": 9, "imageWidth": 12, "shapes": shapes}
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(content))
    images = labelme(tmp_path)
    first = next(pair for pairs in images.splits.values() for pair in pairs if pair.id == "a")
    values = first.mask.decode().values
    assert (values == images.class_list.own_void[0]).sum() == 3 * 4


def save_tree(folder, image_path="{name}.png", own_name="{}", images=("day/a.png", "day/b.png", "night/c.png")):
    """Write images, and in another folder a file for each of them whose rectangle is as wide as its number."""
    for number, path in enumerate(images, 1):
        save_images((folder / "images" / path).parent, [path.rpartition("/")[2]], SIZE)
        parent, _, name = path[:-4].rpartition("/")
        own = folder / "annotations" / parent / f"{own_name.format(name)}.json"
        save(own, image_path.format(name=name, path=path), shape("car", ((0, 0), (number - 1, 9))))


def widths(index):
    return {id: int((mask[0] == 1).sum()) for id, mask in labels(index).items()}


def test_label_null_stops(place):
    path = place / "photos/day/b.json"
    path.write_text(path.read_text().replace('"road"', "null"))
    with pytest.raises(HypercolumnsError, match=r"b\.json: the label of shape 2 is null; give the shape a label"):
        labelme(place / "photos")


def test_file_without_shapes_is_background_or_not(place):
    save(place / "photos/day/b.json", "b.png")
    index = labelme(place / "photos")
    assert (labels(index)["day/b"] == 0).all()
    assert index.notes[-1].startswith("1 of 3 images have a labelme file without shapes and count as images without")
    index = labelme(place / "photos", empty="unlabelled")
    pairs = [pair for of_split in index.splits.values() for pair in of_split]
    assert [pair.id for pair in pairs if not pair.mask.annotated] == ["day/b"]
    assert not any("without shapes" in note for note in index.notes)


@pytest.mark.parametrize("label", ["background", "Background", "_Background_"])
def test_background_in_any_case_is_one_class(place, label):
    for path in (place / "photos/day").glob("*.json"):
        path.write_text(path.read_text().replace("_background_", label))
    index = labelme(place / "photos")
    assert index.classes == ("background", "car", "road")
    assert all((found == LABELS).all() for found in labels(index).values())


@pytest.mark.parametrize("image_path", ["../../images/{path}", "D:\\x\\{path}"])
def test_case_of_suffix_may_differ(tmp_path, image_path):
    """The names of the files do not tell the images, so that the imagePath must."""
    save_tree(tmp_path, image_path, "{}_of", ["a.png", "day/b.png"])
    for path, name in (("a.png", "a.PNG"), ("day/b.png", "day/b.Png")):
        (tmp_path / "images" / path).rename(tmp_path / "images" / name)
    assert widths(labelme(tmp_path / "images", tmp_path / "annotations")) == {"a": 1, "day/b": 2}


@pytest.mark.parametrize("image_path", ["{name}.png", "../../images/{path}", "D:\\x\\{name}.jpg", "renamed_{name}.png"])
def test_files_have_the_names_of_their_images(tmp_path, image_path):
    save_tree(tmp_path, image_path, images=("day/a.png", "day/b.png", "day/c.png"))
    index = labelme("images", "annotations", root=tmp_path)
    assert widths(index) == {"day/a": 1, "day/b": 2, "day/c": 3}
    assert any("name an image of another name" in note for note in index.notes) == ("renamed" in image_path)


def test_path_of_another_machine_is_used(tmp_path):
    """The files have names of their own, so that only the end of the imagePath tells the image."""
    save_tree(tmp_path, "/old/images/{path}", "label_{}")
    assert widths(labelme("images", "annotations", root=tmp_path)) == {"day/a": 1, "day/b": 2, "night/c": 3}


def test_contradicting_names_of_images_stop(tmp_path):
    """By its name, a.json is for day/a.png; by its imagePath, for day/b.png."""
    save_tree(tmp_path)
    save(tmp_path / "annotations/day/a.json", "/old/images/day/b.png", shape("car"))
    save(tmp_path / "annotations/day/b.json", "/old/images/day/a.png", shape("car"))
    save(tmp_path / "annotations/night/c.json", "/old/images/night/c.png", shape("car"))
    message = r"day/a\.json names the image .*day/b\.png, which may be .*b\.png; but by .*, it is .*day/a\.png"
    with pytest.raises(HypercolumnsError, match=message):
        labelme("images", "annotations", root=tmp_path)


def test_files_without_any_image_stop(tmp_path):
    save_tree(tmp_path, "{name}.png", "label_{}")
    message = r"^images=.*images holds the image of none of the 3 labelme files, such as .*day/a\.png, which .*label_a"
    with pytest.raises(HypercolumnsError, match=message):
        labelme("images", "annotations", root=tmp_path)
