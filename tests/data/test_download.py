"""What comes by data.download=true is checked, and cannot write outside its folder."""

import hashlib
import io
import tarfile

import pytest
import torchvision.datasets.voc
from torchvision.datasets import utils

from hypercolumns.data import voc
from hypercolumns.errors import HypercolumnsError


def archive(*members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, settings in members:
            member = tarfile.TarInfo(name)
            for setting, value in settings.items():
                setattr(member, setting, value)
            member.size = 4 * member.isreg()
            tar.addfile(member, io.BytesIO(b"evil") if member.isreg() else None)
    return content.getvalue()


@pytest.fixture
def served(monkeypatch):
    """Lets a download of VOC 2012 give these bytes, which torchvision then expects, or others."""

    def serve(content, expected=None):
        entry = torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]
        digest = hashlib.md5(content if expected is None else expected).hexdigest()
        monkeypatch.setitem(torchvision.datasets.voc.DATASET_YEAR_DICT, "2012", entry | {"md5": digest})
        monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)

        def retrieve(url, path):
            with open(path, "wb") as file:
                file.write(content)

        monkeypatch.setattr(utils, "_urlretrieve", retrieve)

    return serve


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", {}),
        ("/tmp/outside_of_hypercolumns", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "../outside"}),
        ("hard", {"type": tarfile.LNKTYPE, "linkname": "../outside"}),
        ("device", {"type": tarfile.CHRTYPE}),
    ],
    ids=["..", "absolute", "symbolic link", "hard link", "device"],
)
def test_an_archive_that_reaches_outside_its_folder(tmp_path, served, member):
    served(archive(member))
    root = tmp_path / "in" / "data"
    root.parent.mkdir()
    with pytest.raises(HypercolumnsError, match=r"^download=true: Pascal VOC 2012 could not be fetched"):
        voc(root, download=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not any(path.is_symlink() or path.is_char_device() for path in root.rglob("*"))


def test_a_wrong_checksum(tmp_path, served):
    served(b"<html>sign in</html>", expected=b"Pascal VOC")
    with pytest.raises(HypercolumnsError, match="what came is not that file: its checksum differs; remove it"):
        voc(tmp_path, download=True)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tar"]


def test_what_is_no_archive(tmp_path, served):
    served(b"not a tar")
    with pytest.raises(HypercolumnsError, match=r"^download=true: .* could not be fetched into"):
        voc(tmp_path, download=True)
