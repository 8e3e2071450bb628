"""A model keeps the rules by which the masks of its training became class indices."""

import json

import pytest
import safetensors.torch

from hypercolumns import Backbone, HypercolumnExtractor, HypercolumnsError, Segmenter
from hypercolumns.labels import LabelScheme, voc_palette
from hypercolumns.models.classifiers import MLPClassifier

PALETTE = voc_palette(2)
SCHEME = LabelScheme(
    ("a", "b"), PALETTE, {0: 255, 7: 0, 300: 1}, {(9, 8, 7): 1, (0, 0, 0): 255}, False, True, True, True, False
)
RULES = {
    "values": [[0, 255], [7, 0], [300, 1]],
    "colours": [[[0, 0, 0], 255], [[9, 8, 7], 1]],
    "palette_by_colour": False,
    "rgb_by_value": True,
    "encoding_said": True,
    "void_said": True,
    "own_colours": False,
}


def make(scheme):
    backbone = Backbone("rgb", ["image"])
    classifier = MLPClassifier(backbone.channels, 2, 4)
    return Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b"], PALETTE, scheme=scheme).eval()


def test_model_file_keeps_the_rules(tmp_path):
    make(SCHEME).save(tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["hypercolumns"])["masks"] == RULES
    assert Segmenter.load(tmp_path).scheme == SCHEME


@pytest.mark.parametrize("scheme", [None, LabelScheme.of(["a", "b"])])
def test_usual_rules_have_no_entry(tmp_path, scheme):
    make(scheme).save(tmp_path / "model.safetensors")
    assert "masks" not in make(scheme).header()
    loaded = Segmenter.load(tmp_path).scheme
    assert loaded.values == {0: 0, 1: 1, 255: 255}
    assert loaded.colours == {(0, 0, 0): 0, (128, 0, 0): 1, (224, 224, 192): 255}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("values", [[0, 2]], "the rules for masks have classes that the model does not have"),
        ("colours", [[[0, 0, 0], 254]], "the rules for masks have classes that the model does not have"),
        ("values", [[-1, 0]], "the rules for masks have values that are not numbers from 0 to 65535"),
        ("values", [[True, 0]], "the rules for masks have values that are not numbers from 0 to 65535"),
        ("rgb_by_value", "yes", "the rules for masks have switches that are neither true nor false"),
        ("colours", [[0, 0]], "cannot unpack"),
        ("values", None, "not iterable"),
    ],
)
def test_invalid_rules_in_a_file_are_refused(tmp_path, key, value, message):
    model = make(SCHEME)
    text = json.dumps({**model.header(), "masks": {**RULES, key: value}})
    safetensors.torch.save_file(model.tensors(), tmp_path / "model.safetensors", {"hypercolumns": text})
    with pytest.raises(HypercolumnsError, match=f"can't be loaded as a model.*{message}"):
        Segmenter.load(tmp_path)


def test_scheme_of_other_classes_is_refused():
    with pytest.raises(HypercolumnsError, match="the scheme of masks has other classes or colours than the model"):
        make(LabelScheme.of(["b", "a"]))
