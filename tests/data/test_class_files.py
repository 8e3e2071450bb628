"""Lists of classes, in the forms that people and annotation tools write."""

import json

import pytest

from hypercolumns.data.annotations.classes import annotation_classes
from hypercolumns.data.class_files import class_list, read_class_list, read_colours
from hypercolumns.data.class_list import ClassList
from hypercolumns.errors import ArgumentError
from hypercolumns.labels import voc_palette

ROAD, CAR = (128, 64, 128), (0, 0, 142)
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:0,0,142::\nroad:128,64,128::\n"
META = {
    "label_map": {"0": "background", "1": "road", "2": "car"},
    "segmentation_colors": [[0, 0, 0], ROAD, CAR],
    "background_label": "0",
}
SUPERVISELY = {
    "classes": [{"title": "road", "shape": "bitmap", "color": "#804080"}, {"title": "car", "color": "#00008E"}]
}
COCO = {"categories": [{"id": 3, "name": "road", "supercategory": "way"}, {"id": 90, "name": "car"}], "images": []}


def entries(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return [tuple(entry) for entry in read_class_list(path).entries]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("classes.txt", "road\n big car \n\n \n", [("road", 0, None), ("big car", 1, None)]),
        ("class_names.txt", "_background_\nroad", [("_background_", 0, None), ("road", 1, None)]),
        ("labels.txt", "__ignore__\n_background_\nroad\n", [("_background_", 0, None), ("road", 1, None)]),
        ("labelmap.txt", LABELMAP, [("background", 0, (0, 0, 0)), ("car", 1, CAR), ("road", 2, ROAD)]),
        ("labelmap.txt", "# label:color_rgb:parts:actions\na:::\nb:::\n", [("a", 0, (0, 0, 0)), ("b", 1, (128, 0, 0))]),
        ("any.txt", "a:1,2,3:head,tail:walk\nb:4, 5, 6::\n", [("a", 0, (1, 2, 3)), ("b", 1, (4, 5, 6))]),
        ("label_colors.txt", "128 64 128\troad\n0 0 142 \tcar\n", [("road", 0, ROAD), ("car", 1, CAR)]),
        ("label_colors.txt", " background\n road\n", [("background", 0, None), ("road", 1, None)]),
        ("colours.txt", "128,64,128 road\n0,0,142,big car\n", [("road", 0, ROAD), ("big car", 1, CAR)]),
        ("colours.txt", "road 128 64 128\ncar 0 0 142\n", [("road", 0, ROAD), ("car", 1, CAR)]),
        ("numbered.txt", "0 background\n1: road\n", [("background", 0, None), ("road", 1, None)]),
        (
            "numbered.txt",
            "2 car\n0 background\n1 road\n",
            [("background", 0, None), ("road", 1, None), ("car", 2, None)],
        ),
        ("colours.txt", "2 car 250 50 83\n0 road 128 64 128\n", [("car", 2, (250, 50, 83)), ("road", 0, ROAD)]),
        ("colours.txt", "7,road, 128,64,128\n26: car 0 0 142\n", [("road", 7, ROAD), ("car", 26, CAR)]),
        ("colours.txt", "2 lane 128 64 128\n4 lane 0 0 142\n", [("2 lane", 0, ROAD), ("4 lane", 1, CAR)]),
        ("colours.txt", "road #804080\nbig car: #00008e\n", [("road", 0, ROAD), ("big car", 1, CAR)]),
        ("colours.txt", "7 road #804080\n5 car #00008E\n", [("road", 7, ROAD), ("car", 5, CAR)]),
        ("grades.txt", "grade 0\ngrade 1\ngrade 2\n", [(f"grade {grade}", grade, None) for grade in range(3)]),
        ("coins.txt", "1 euro\n2 euro\n", [("1 euro", 0, None), ("2 euro", 1, None)]),
        ("numbered.txt", "0 class 1\n1 class 2\n", [("class 1", 0, None), ("class 2", 1, None)]),
        ("numbered.txt", "car 1\nbackground 0\n", [("background", 0, None), ("car", 1, None)]),
        ("colours.csv", "name,color\nroad,#804080\n", [("road", 0, ROAD)]),
        ("ids.json", [{"name": "car", "id": "1"}, {"name": "road", "id": "0"}], [("car", 1, None), ("road", 0, None)]),
        ("hub.json", {"id2label": {"0": "road", "1": "car"}}, [("road", 0, None), ("car", 1, None)]),
        ("label2id.json", {"label2id": {"car": 2, "road": "0"}}, [("car", 2, None), ("road", 0, None)]),
        ("yolo.json", {"names": {"0": "road", "7": "car"}, "nc": 2}, [("road", 0, None), ("car", 7, None)]),
        ("yolo.json", {"names": ["road", "car"]}, [("road", 0, None), ("car", 1, None)]),
        ("dataset.json", {"labels": {"car": 2, "road": 0}}, [("car", 2, None), ("road", 0, None)]),
        ("dataset.json", {"labels": {"1": "car", "0": "road"}}, [("car", 1, None), ("road", 0, None)]),
        ("_classes.csv", "Pixel Value, Class\n0, background\n7, road\n", [("background", 0, None), ("road", 7, None)]),
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n", [("road", 0, ROAD), ("car", 1, CAR)]),
        ("labels.csv", "id;name\n4;road\n2;car\n", [("road", 4, None), ("car", 2, None)]),
        ("dataset_meta.json", META, [("background", 0, (0, 0, 0)), ("road", 1, ROAD), ("car", 2, CAR)]),
        ("coco.json", COCO, [("road", 3, None), ("car", 90, None)]),
        ("meta.json", SUPERVISELY, [("road", 0, ROAD), ("car", 1, CAR)]),
        ("machine.json", {"road": [1, 1, 1], "car": [2, 2, 2]}, [("road", 1, None), ("car", 2, None)]),
        ("human.json", {"road": ROAD, "car": CAR}, [("road", 0, ROAD), ("car", 1, CAR)]),
        ("values.json", {"road": 4, "car": 2}, [("road", 4, None), ("car", 2, None)]),
        ("names.json", {"4": "road", "2": "car"}, [("road", 4, None), ("car", 2, None)]),
        ("list.json", ["road", "car"], [("road", 0, None), ("car", 1, None)]),
        ("cvat.json", [{"name": "road", "color": "#804080", "attributes": []}], [("road", 0, ROAD)]),
    ],
)
def test_class_list_forms(tmp_path, name, content, expected):
    assert entries(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "# my classes\nroad\n", "has lines that begin with #; remove them"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad\n", "the line road is not name:red,green,blue:parts"),
        ("a.txt", "300 0 0 road\n", "300 0 0 is not a colour"),
        ("a.txt", "1 2 3 road\n1 2 3 car\n", r"repeats colours \(\(1, 2, 3\)\); give each class a different colour"),
        ("a.csv", "0,road\n1,car\n", "has no header that names its columns"),
        ("a.csv", "idx,name\n1,road\n0,car\n", "the column idx may hold the values of the classes; name it value"),
        (
            "coins.txt",
            "1 euro\n2 dollar\n",
            "it is not clear whether the numbers in the lines, such as 1 euro, are values",
        ),
        ("a.txt", "road,car\n", "it is not clear whether"),
        ("both.txt", "0 1\n1 0\n", "it is not clear whether .* 0 1, are"),
        ("both.txt", "0 1\n1 2\n", "it is not clear whether"),
        ("both.txt", "0 a 1\n1 b 0\n", "it is not clear whether"),
        ("twice.txt", "2 car\n0 road\n1 car\n", "it is not clear whether"),
        ("twice.txt", "2 car 1 2 3\n2 road 4 5 6\n", "it is not clear whether .* header value,class .and ,r,g,b"),
        ("less.txt", "-1 car 1 2 3\n2 road 4 5 6\n", "it is not clear whether"),
        ("some.txt", "road 1 2 3\ncar\n", "the line car gives no colour as the other lines do; give all classes"),
        ("some.txt", "road\ncar #010203\n", "the line road gives no colour"),
        ("some.txt", "name r g b\ncar 1 2 3\n", "the line name r g b gives no colour"),
        ("blank.txt", "road\n\ncar\n", "line 2 is blank, so the values of the classes below it are not certain"),
        ("blank.txt", "\nroad 1 2 3\n", "line 1 is blank"),
        ("data.yaml", "names: [road, car]\n", r"is a \.yaml file, which is not read"),
        ("a.txt", "road 1 2 3 255\ncar 4 5 6 255\n", "each line has more than three numbers"),
        ("a.json", {"1": ["road"]}, "lists no classes in a known form"),
        ("a.csv", "value,class\n0,road\nx,car\n", "the row x,car does not fit the header"),
        ("a.csv", "value,class\n0,road\n0,car\n", r"repeats values \(0\)"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", {}, "lists no classes in a known form"),
        ("a.json", [{"color": "#000000"}], "lists no classes in a known form"),
        ("a.json", {"road": [1, 2]}, "is not a colour"),
        ("a.json", {"other": {"0": "road", "1": "car", "2": "van"}}, "lists no classes in a known form"),
        ("a.json", {"label2id": {"road": "x"}}, "lists no classes in a known form"),
        ("a.json", "3", "lists no classes in a known form"),
    ],
)
def test_invalid_class_list_is_refused(tmp_path, name, content, message):
    with pytest.raises(ArgumentError, match=rf"^classes=.*{name}.*{message}"):
        entries(tmp_path, name, content)


def test_colours_come_from_lines_or_a_list(tmp_path):
    classes = ClassList.of(["background", "road", "car"])
    (tmp_path / "palette.txt").write_text("0 0 0\n128,64,128\n0, 0, 142\n")
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    for name in ("palette.txt", "labelmap.txt"):
        assert [entry.colour for entry in read_colours(tmp_path / name, classes).entries] == [(0, 0, 0), ROAD, CAR]
    voc = read_colours("voc", classes)
    assert [entry.colour for entry in voc.entries] == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    with pytest.raises(ArgumentError, match="names no colour for tree; expected a line R G B for each class"):
        read_colours(tmp_path / "labelmap.txt", ClassList.of(["road", "tree"]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\ncar,,,\nvan,1,2,3\n"),
        ("colours.csv", "name,color\nroad,#804080\ncar,\nvan,1 2 3\n"),
        ("labelmap.txt", "road:128,64,128::\ncar:::\nvan:1,2,3::\n"),
        ("cvat.json", [{"name": "road", "color": "#804080"}, {"name": "car"}, {"name": "van", "color": [1, 2, 3]}]),
        ("human.json", {"road": ROAD, "car": None, "van": [1, 2, 3]}),
    ],
)
def test_colours_of_some_classes_only_ask(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    listed = class_list(path)
    assert [entry.colour for entry in listed.entries] == [ROAD, None, (1, 2, 3)]
    message = rf"^classes=.*{name} gives colours to some classes only, and none to car; give all classes a colour, or"
    with pytest.raises(ArgumentError, match=message):
        listed.scheme()
    assert class_list(path, "voc").scheme().palette == tuple(voc_palette(3))
    drawn = annotation_classes(["road", "car", "van"], "tasks", path).listed  # masks that are drawn hold no colours
    assert drawn.scheme().classes == ("background", "road", "car", "van")


def test_names_can_be_given_directly():
    assert [entry.name for entry in class_list(["road", "car"]).entries] == ["road", "car"]


def scheme(classes=("background", "road", "car", "van"), **said):
    return ClassList.of(classes).scheme(**said)


def test_void_values_and_names():
    assert scheme().values == {0: 0, 1: 1, 2: 2, 3: 3, 255: 255}
    by_value = scheme(void=0)
    assert by_value.classes == ("road", "car", "van")
    assert by_value.values == {0: 255, 1: 0, 2: 1, 3: 2}  # 255 is no void then
    assert scheme(void="background") == by_value
    assert scheme(void=["background", 255]).values == by_value.values | {255: 255}
    assert scheme(void="none").values == {0: 0, 1: 1, 2: 2, 3: 3}
    assert scheme(void=[7, 65535]).values == {0: 0, 1: 1, 2: 2, 3: 3, 7: 255, 65535: 255}


def test_map_merges_renames_and_adds_classes():
    merged = scheme(map={"van": "car", "road": "way", 9: "tree", 1000: None})
    assert merged.classes == ("background", "way", "car", "tree")
    assert merged.values == {0: 0, 1: 1, 2: 2, 3: 2, 9: 3, 255: 255, 1000: 255}
    binary = scheme(["background", "object"], map={255: "object"}, void="none")
    assert (binary.classes, binary.values) == (("background", "object"), {0: 0, 1: 1, 255: 1})


def test_colours_follow_void_and_map():
    classes = ClassList.of_voc(["background", "road", "car", "van"])
    merged = classes.scheme(void=["background", 255], map={"van": "car"})
    assert merged.palette == ((128, 0, 0), (0, 128, 0))
    assert merged.colours == {(0, 0, 0): 255, (128, 0, 0): 0, (0, 128, 0): 1, (128, 128, 0): 1, (224, 224, 192): 255}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"void": "tree"}, r"void=tree must be none, a value .* or the name of a class in data.classes \(background, "),
        ({"void": -1}, "void=-1 must be"),
        ({"void": 70000}, "void=70000 must be"),
        ({"void": True}, "void=True must be"),
        ({"void": [0, 1, 2, 3]}, "leave no class"),
        ({"map": {"tree": "car"}}, "map: tree must be a value from 0 to 65535, or the name of a class"),
        ({"map": {"car": 3.5}}, r"map: car becomes 3\.5, which is not a class name"),
        ({"map": [1]}, r"map=\[1\] must give values or class names their classes"),
        ({"void": 1.5}, r"void=1\.5 must be"),
        ({"void": 1, "map": {1: "road"}}, "map gives the value 1 a class, but void=1 makes it void"),
        ({"map": {1: "lane", "road": "way"}}, "map names the value 1 twice"),
    ],
)
def test_unknown_void_or_map_is_refused(said, message):
    with pytest.raises(ArgumentError, match=message):
        scheme(**said)
