"""Writing tensors, and removing the files that a killed writer leaves behind."""

import errno
import os

import pytest
import safetensors.torch
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import remove_temporaries
from hypercolumns.io.tensors import save_tensors


def test_saved_tensors_can_be_read_again(tmp_path):
    save_tensors(tmp_path / "file", {"a": torch.arange(3)}, {"key": "value"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with safetensors.safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"key": "value"}
        assert torch.equal(file.get_tensor("a"), torch.arange(3))


@pytest.mark.parametrize("killed", [False, True])
def test_failed_save_leaves_no_files(killed, tmp_path, monkeypatch):
    """safetensors writes to a random file name. A killed process removes nothing, but `remove_temporaries` does."""

    def full(tensors, path, metadata):
        path.with_name(".tmp0a1b2c").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    if killed:
        monkeypatch.setattr("hypercolumns.io.tensors.shutil.rmtree", lambda *arguments, **settings: None)
    with pytest.raises(HypercolumnsError, match="file can't be written"):
        save_tensors(tmp_path / "file", {}, {})
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == int(killed)
    remove_temporaries(tmp_path / "file")
    assert not list(tmp_path.iterdir())
