"""The download of Pascal VOC: the archive is verified and cannot write outside its folder."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torchvision.datasets.voc

from hypercolumns.data import voc
from hypercolumns.errors import HypercolumnsError


def archive(*members):
    """Return a tar archive of members, each given by its name and the attributes of its TarInfo."""
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
    """Return a function that serves `content` as VOC 2012. Torchvision expects the checksum of `expected`."""
    contents = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(contents[-1])))
            self.end_headers()
            self.wfile.write(contents[-1])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:

        def serve(content, expected=None):
            contents.append(content)
            entry = torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]
            digest = hashlib.md5(content if expected is None else expected).hexdigest()
            url = f"http://127.0.0.1:{server.server_port}/voc.tar"
            local = entry | {"url": url, "md5": digest}
            monkeypatch.setitem(torchvision.datasets.voc.DATASET_YEAR_DICT, "2012", local)

        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serve
        server.shutdown()
        thread.join()


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
def test_archive_cannot_write_outside_folder(tmp_path, served, member):
    served(archive(member))
    root = tmp_path / "in" / "data"
    root.parent.mkdir()
    with pytest.raises(HypercolumnsError, match="Pascal VOC"):  # an absolute path is unpacked inside the folder
        voc(root, download=True)
    assert not Path("/tmp/outside_of_hypercolumns").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not any(path.is_symlink() or path.is_char_device() for path in root.rglob("*"))


def test_wrong_checksum_is_refused(tmp_path, served):
    served(b"<html>sign in</html>", expected=b"Pascal VOC")
    with pytest.raises(HypercolumnsError, match="the checksum of the downloaded file is wrong; remove the file"):
        voc(tmp_path, download=True)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tar"]


def test_file_that_is_no_archive_is_refused(tmp_path, served):
    served(b"not a tar")
    with pytest.raises(HypercolumnsError, match=r"^download=true: .* could not be downloaded into"):
        voc(tmp_path, download=True)
