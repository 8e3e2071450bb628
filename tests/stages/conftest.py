"""Fixtures for the stages on a tiny data set.

The tests run dozens of stages. Slow work that other tests check, such as drawing plots, is cached or skipped here.
"""

import shutil

import pytest
from helpers.small_runs import run


@pytest.fixture(scope="module", autouse=True)
def quick(without_pictures):
    """Skip what `without_pictures` skips in all tests of the stages."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The temporary folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def extracted_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("extract")
    return folder


@pytest.fixture(scope="module")
def pretrained_once(extracted_once, tmp_path_factory):
    folder = copy_tree(extracted_once, tmp_path_factory.mktemp("pretrained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run("pretrain")


@pytest.fixture
def extracted(extracted_once, place):
    """The working directory, after stage extract."""
    return copy_tree(extracted_once, place)


@pytest.fixture
def pretrained(pretrained_once, place):
    """The mIoU of stage pretrain, which ran in the working directory after stage extract."""
    folder, miou = pretrained_once
    copy_tree(folder, place)
    return miou


def copy_tree(source, target):
    return shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
