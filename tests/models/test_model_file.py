"""Model files with arbitrary headers: loading gives a working model, or an error message of one line."""

import json
import re

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor

CLASSES = ["ground", "cat"]
WORDS = ["rgb", "image", "mlp", "grid", "exact", "timm/x", "vit_b_16", "pyramid:9", "_target_", "os.system", "all", ""]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 0, 1, 2, 1 << 40, 1 << 70]),
    st.text(max_size=3),
    st.sampled_from(WORDS),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    backbone = Backbone("rgb", ["image", "coordinates"])
    return Segmenter(HypercolumnExtractor(backbone), MLPClassifier(backbone.channels, len(CLASSES), 4), CLASSES).eval()


def paths(value, path=()):
    """Yield the path of every value in a header, outer values first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield from paths(child, (*path, name))


def load(path, header, segmenter):
    """Write and load a model with this header; return the model after a prediction, or the error message."""
    metadata = {"hypercolumns": json.dumps(header)}
    safetensors.torch.save_file(segmenter.tensors(), path, metadata)
    try:
        loaded = Segmenter.load(path)
    except HypercolumnsError as error:
        return str(error)
    try:
        SegmentationPredictor(loaded).predict(torch.rand(3, 5, 7)).overlay()
    except HypercolumnsError as error:  # the sizes of maps that a header names are compared with those of an image
        if "that the model's header names" not in str(error):
            raise
    return loaded


def is_one_line(message):
    return (
        re.match(r"\S+ can't be (read|loaded) as a model \(", message)
        and "model.safetensors" in message
        and len(message.splitlines()) == 1
    )


FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(header=VALUES)
def test_arbitrary_header_raises(tmp_path, segmenter, header):
    assert is_one_line(load(tmp_path / "model.safetensors", header, segmenter))


@FEW
@given(data=st.data())
def test_header_with_one_changed_value(tmp_path, segmenter, data):
    header = json.loads(json.dumps(segmenter.header()))
    *outside, last = data.draw(st.sampled_from([path for path in paths(header) if path]))
    parent = header
    for name in outside:
        parent = parent[name]
    parent[last] = data.draw(VALUES)
    loaded = load(tmp_path / "model.safetensors", header, segmenter)
    assert is_one_line(loaded) if isinstance(loaded, str) else loaded.classes == tuple(header["classes"])


def test_header_with_other_sizes_of_maps(tmp_path, segmenter):
    header = json.loads(json.dumps(segmenter.header()))
    header["backbone"]["info"]["maps"][0]["axes"][0]["size_offset"] = 1
    loaded = load(tmp_path / "model.safetensors", header, segmenter)
    with pytest.raises(HypercolumnsError, match=r"has a map of .* \(3, 5, 7\), expected \(3, 6, 7\); use the versions"):
        SegmentationPredictor(loaded).predict(torch.rand(3, 5, 7))


def test_unchanged_header_loads(tmp_path, segmenter):
    assert load(tmp_path / "model.safetensors", segmenter.header(), segmenter).classes == tuple(CLASSES)
