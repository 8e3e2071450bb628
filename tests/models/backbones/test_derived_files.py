"""The files of the cache folder that hold the properties of networks."""

import json
import os
import subprocess
import sys

import pytest
from torch import nn
from torchvision import models

from hypercolumns.models.backbones import derived_files
from hypercolumns.models.backbones.derived_files import load_derived, save_derived

KEY = "shufflenet_v2_x0_5", (("conv1.0",),), 3, False
RECORD = {"min_side": 1, "maps": [{"channels": 24}]}
CONSTRUCT = """
import sys
from hypercolumns import Backbone
info = Backbone("shufflenet_v2_x0_5", ["conv1.0"]).info
print([name for name in sys.modules if name.endswith("_derivation")], info)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERCOLUMNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


def test_saved_properties_are_loaded(folder):
    assert load_derived(*KEY) is None
    save_derived(*KEY, RECORD)
    assert load_derived(*KEY) == RECORD
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "other",
    [
        ("shufflenet_v2_x1_0", *KEY[1:]),
        (KEY[0], (("conv1.1",),), *KEY[2:]),
        (KEY[0], (("conv1.0", "conv1.1"),), *KEY[2:]),
        (*KEY[:2], 4, False),
        (*KEY[:3], True),
    ],
)
def test_other_keys_have_files_of_their_own(other):
    save_derived(*KEY, RECORD)
    assert load_derived(*other) is None
    save_derived(*other, {"min_side": 2})
    assert load_derived(*KEY) == RECORD


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"origin": 1}', "null"])
def test_damaged_file_is_ignored_and_replaced(damage, folder):
    save_derived(*KEY, RECORD)
    (file,) = folder.iterdir()
    file.write_text(damage)
    assert load_derived(*KEY) is None
    save_derived(*KEY, RECORD)
    assert load_derived(*KEY) == RECORD


@pytest.mark.parametrize("part", ["torch", "torchvision", "rules", "source"])
def test_file_of_another_origin_is_ignored(part, folder):
    save_derived(*KEY, RECORD)
    (file,) = folder.iterdir()
    content = json.loads(file.read_text())
    content["origin"][part] += "1"
    file.write_text(json.dumps(content))
    assert load_derived(*KEY) is None


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYPERCOLUMNS_CACHE", str(tmp_path / "file"))
    save_derived(*KEY, RECORD)
    assert load_derived(*KEY) is None


def test_empty_variable_turns_the_files_off(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERCOLUMNS_CACHE", "")
    monkeypatch.chdir(tmp_path)
    save_derived(*KEY, RECORD)
    assert load_derived(*KEY) is None
    assert not list(tmp_path.iterdir())


def test_default_folder_is_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERCOLUMNS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    save_derived(*KEY, RECORD)
    assert len(list((tmp_path / "home/hypercolumns/networks").iterdir())) == 1


def test_network_of_a_program_has_no_file(folder, monkeypatch):
    """Its code can change without a new version."""

    def own_network() -> nn.Module:
        return nn.Identity()

    monkeypatch.setattr(models, "get_model_builder", lambda name: own_network)
    save_derived("own_network", *KEY[1:], RECORD)
    assert not folder.exists()


def test_properties_without_a_record_are_not_kept(folder):
    save_derived(*KEY, None)
    assert not folder.exists()


def test_rules_include_all_that_derives():
    modules = {path.name for path in derived_files.rule_files()}
    assert {"receptive_field.py", "shift_period.py", "taps.py", "alignment.py", "derived_files.py"} <= modules


@pytest.mark.slow
def test_second_process_reads_the_file(folder):
    def run() -> str:
        return subprocess.check_output([sys.executable, "-c", CONSTRUCT], text=True, env=os.environ.copy())

    first, second, (file,) = run(), run(), folder.iterdir()
    assert first.startswith("['hypercolumns")
    assert second.startswith("[]")
    assert first.partition("] ")[2] == second.partition("] ")[2]
    file.write_text(file.read_text().replace('"channels": 24', '"channels": "many"'))
    assert run() == first
