"""Which image a task of Label Studio means: the field, the path that its text means, and the file of this path."""

import json

import numpy as np
import pytest
from helpers.annotated import SIZE, labels, save_images

from hypercolumns.data import label_studio
from hypercolumns.data.annotations.label_studio_fields import task_image
from hypercolumns.errors import HypercolumnsError


def save(folder, *paths):
    for path in paths:
        save_images((folder / "photos" / path).parent, [path.rpartition("/")[2]])


def task(number, to_name="image", **data):
    """Return a task whose region covers the first `number` columns, so that its mask tells the tasks apart."""
    value = {"x": 0, "y": 0, "width": 100 * number / SIZE[1], "height": 100, "rectanglelabels": ["car"]}
    region = {"type": "rectanglelabels", "value": value, "to_name": to_name}
    region |= {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"id": number, "data": data, "annotations": [{"result": [region]}]}


def read(folder, *tasks, **settings):
    """Return the number of the task of each image with one, by its id."""
    (folder / "export.json").write_text(json.dumps(tasks))
    index = label_studio("export.json", "photos", root=folder, **settings)
    pairs = [pair for of_split in index.splits.values() for pair in of_split if pair.mask.annotated]
    return {pair.id: int(pair.mask.decode().values[0].sum()) for pair in pairs}


def tasks_of(*texts, field="image"):
    return [task(number, **{field: text}) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.png", "a.png"),
        ("photos/a b.png", "photos/a b.png"),
        ("D:\\photos\\a.png", "D:/photos/a.png"),
        ("b%20c.png", "b c.png"),
        ("/data/upload/3/1a2b3c4d-a.png", "data/upload/3/1a2b3c4d-a.png"),
        ("/data/local-files/?d=photos/a.png", "photos/a.png"),
        ("/data/local-files/?x=1&d=photos%2Fa%2Bb%20c.png", "photos/a+b c.png"),
        ("http://localhost:8080/data/local-files?d=a.png&versionId=3", "a.png"),
        ("https://host/photos/a.png?versionId=b.png", "photos/a.png"),
        ("https://host/photos/a%20b.png?d=other/c.png#x", "photos/a b.png"),
        ("https://host/a.png?X-Amz-Signature=1&response=d=4", "a.png"),
        ("s3://bucket/photos/a%20b?d=c.png", "photos/a%20b?d=c.png"),
        ("gs://bucket/a#1.png", "a#1.png"),
        ("https://[host/a.png", "https:/[host/a.png"),
    ],
)
def test_paths_are_read_from_urls(text, path):
    assert "/".join(task_image(text).parts) == path


@pytest.mark.parametrize("text", ["{}.png", "{}.Png", "https://host/{}.png", "/data/upload/3/1a2b3c4d-{}.png"])
def test_case_of_suffix_may_differ(tmp_path, text):
    save(tmp_path, "a.PNG", "day/b.Png")
    names = ["a", "day/b"] if text.startswith("https") else ["a", "b"]
    assert read(tmp_path, *tasks_of(*map(text.format, names))) == {"a": 1, "day/b": 2}


def test_query_does_not_name_the_image(tmp_path):
    save(tmp_path, "a.png", "b.png")
    texts = ("https://host/a.png?versionId=b.png", "https://host/b.png?d=a.png")
    assert read(tmp_path, *tasks_of(*texts)) == {"a": 1, "b": 2}


def test_field_of_the_regions_names_the_image(tmp_path):
    """The first field also names an image that exists, and would be taken by its place."""
    save(tmp_path, "a.png", "b.png")
    tasks = [task(1, thumbnail="b.png", image="a.png"), task(2, thumbnail="a.png", image="b.png")]
    assert read(tmp_path, *tasks) == {"a": 1, "b": 2}
    index = label_studio("export.json", "photos", root=tmp_path)
    assert index.notes[-1].startswith(
        "the image of a task is its field image, not thumbnail; if it is another one: dat"
    )
    assert read(tmp_path, *tasks, image_field="thumbnail") == {"a": 2, "b": 1}


def test_only_field_with_images_is_taken(tmp_path):
    save(tmp_path, "a.png", "b.png")
    tasks = [
        task(1, to_name="tag", note="like b.png, but", url="a.png"),
        task(2, to_name="tag", note="see a.txt", url="b.png"),
    ]
    assert read(tmp_path, *tasks) == {"a": 1, "b": 2}


def test_unknown_field_is_asked_for(tmp_path):
    save(tmp_path, "a.png", "b.png")
    tasks = [
        task(1, to_name="tag", before="a.png", after="b.png"),
        task(2, to_name="tag", before="b.png", after="a.png"),
    ]
    message = r"^image_field=None: several fields of .* may name the image: before, after; set data\.image_field=<"
    with pytest.raises(HypercolumnsError, match=message):
        read(tmp_path, *tasks)
    assert read(tmp_path, *tasks, image_field="after") == {"a": 2, "b": 1}
    with pytest.raises(HypercolumnsError, match=r"^image_field=x is no field of .*; they have before, after"):
        read(tmp_path, *tasks, image_field="x")
    with pytest.raises(HypercolumnsError, match=r"^image_field=None: no field of .* names an image file .*"):
        read(tmp_path, task(1, text="a.txt"), task(2, text="b"))
    both = [task(1, to_name="before", **tasks[0]["data"]), task(2, to_name="after", **tasks[1]["data"])]
    with pytest.raises(HypercolumnsError, match=r"belong to several images, those of the fields before, after; export"):
        read(tmp_path, *both, image_field="after")


def test_uploaded_task_file_names_no_image(tmp_path):
    """`file_upload` may be a table of tasks, or the image itself."""
    save(tmp_path, "a (1).png", "b c.png")
    tasks = tasks_of("/data/upload/1/01234567-a_1.png", "/data/upload/1/89abcdef-b_c.png")
    uploads = [{**entry, "file_upload": "01234567-tasks.csv"} for entry in tasks]
    assert read(tmp_path, *uploads) == {"a (1)": 1, "b c": 2}
    uploads = [{**task(1, other="x"), "file_upload": "01234567-a_1.png"}, tasks[1]]
    assert read(tmp_path, *uploads) == {"a (1)": 1, "b c": 2}


@pytest.mark.parametrize("prefix", ["", "/data/local-files/?d=set/photos/", "s3://bucket/old/", "C:\\set\\photos\\"])
def test_folders_tell_images_of_one_name_apart(tmp_path, prefix):
    save(tmp_path, "day/a.png", "night/a.png", "a.png")
    texts = [f"{prefix}night/a.png", f"{prefix}day/a.png", f"{prefix}a.png"]
    assert read(tmp_path, *tasks_of(*texts)) == {"night/a": 1, "day/a": 2, "a": 3}


def test_one_rule_holds_for_all_tasks(tmp_path):
    """`x/a.png` alone could be each of three images; the other tasks say which folder `x` is."""
    save(tmp_path, "day/a.png", "night/a.png", "night/b.png", "a.png")
    with pytest.raises(HypercolumnsError, match=r"task 1 .* may be for each of the images a, day/a, night/a; give the"):
        read(tmp_path, *tasks_of("x/a.png"))
    assert read(tmp_path, *tasks_of("x/a.png", "x/b.png")) == {"night/a": 1, "night/b": 2}


def test_image_of_another_folder_is_not_taken(tmp_path):
    """`photos/y/b.png` is missing; the image of this name in `z` is another one."""
    save(tmp_path, "x/a.png", "z/b.png")
    with pytest.raises(HypercolumnsError, match=r"lacks the images of 1 tasks of .*: photos/y/b\.png; add"):
        read(tmp_path, *tasks_of("photos/x/a.png", "photos/y/b.png"))


def test_names_decide_if_no_folder_fits(tmp_path):
    save(tmp_path, "x/a.png", "y/b.png")
    assert read(tmp_path, *tasks_of("https://host/1/a.png", "https://host/2/b.png")) == {"x/a": 1, "y/b": 2}
    with pytest.raises(HypercolumnsError, match=r"the tasks 1 and 2 are for the same image .*a\.png; remove"):
        read(tmp_path, *tasks_of("https://host/1/a.png", "https://host/2/a.png"))


def test_uploads_of_one_name_stop(tmp_path):
    save(tmp_path, "day/a.png", "night/a.png")
    with pytest.raises(HypercolumnsError, match=r"task 1 of .* may be for each of the images day/a, night/a; give"):
        read(tmp_path, *tasks_of("/data/upload/1/01234567-a.png"))


def minimal(number, image, *tags, id=None):
    """Return an entry of JSON_MIN with a region of each tag, (label, first column, number of columns)."""
    entry = {"image": image, "annotation_id": number, **({} if id is None else {"id": id})}
    for tag, label, left, width in tags:
        value = {"x": 100 * left / SIZE[1], "y": 0, "width": 100 * width / SIZE[1], "height": 100}
        value |= {"rectanglelabels": [label], "original_width": SIZE[1], "original_height": SIZE[0]}
        entry.setdefault(tag, []).append(value)
    return entry


def read_min(folder, *entries, **settings):
    (folder / "export.json").write_text(json.dumps(entries))
    return label_studio("export.json", "photos", root=folder, **settings)


def test_order_of_tags_must_not_matter(tmp_path):
    """In JSON_MIN, the regions of each tag are together, so that those of another tag may have been drawn between."""
    save(tmp_path, "a.png", "b.png")
    apart = minimal(2, "b.png", ("one", "car", 0, 4), ("two", "road", 4, 4), id=2)
    over = minimal(1, "a.png", ("one", "car", 0, 4), ("two", "road", 3, 4), id=1)
    index = read_min(tmp_path, over, apart)
    pairs = {pair.id: pair for of_split in index.splits.values() for pair in of_split}
    expected = np.repeat([[1] * 4 + [2] * 4 + [0] * 4], SIZE[0], axis=0)
    assert (pairs["b"].mask.decode().values == expected).all()
    assert index.notes[-1].startswith("the format JSON_MIN does not say whether regions were drawn on a rotated view")
    with pytest.raises(HypercolumnsError, match=r"a\.png\): regions of one and two overlap, and the format "):
        pairs["a"].mask.decode()
    one_tag = minimal(1, "a.png", ("one", "car", 0, 4), ("one", "road", 3, 4), id=1)
    expected = np.repeat([[1] * 3 + [2] * 4 + [0] * 5], SIZE[0], axis=0)
    assert (labels(read_min(tmp_path, one_tag, apart))["a"] == expected).all()


def test_position_is_not_the_id_of_another_task(tmp_path):
    """The second entry has no id. Its position, from 0, is the id of the first one."""
    save(tmp_path, "a.png", "b.png")
    entries = [minimal(7, "a.png", ("one", "car", 0, 4), id=1), minimal(8, "b.png", ("one", "car", 0, 9))]
    found = labels(read_min(tmp_path, *entries))
    assert {id: mask[0].sum() for id, mask in found.items()} == {"a": 4, "b": 9}
    entries = [minimal(7, "a.png", ("one", "car", 0, 4), id=1), minimal(8, "b.png", ("one", "car", 0, 9), id=1)]
    message = r"two entries of task 1 have different values of image \(a\.png, b\.png\); export the project again, and"
    with pytest.raises(HypercolumnsError, match=message):
        read_min(tmp_path, *entries, several="newest")
