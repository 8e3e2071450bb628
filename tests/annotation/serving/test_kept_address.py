"""A session that is started again has the address of the one before, which no other user can read."""

import json
import os
import socket
import stat
from contextlib import closing

import pytest

from hypercolumns.annotation.serving.kept_address import KeptAddress
from hypercolumns.annotation.serving.listener import listen

HOST = "127.0.0.1"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")


@pytest.fixture
def kept(tmp_path):
    return keep(tmp_path)


def keep(folder, images="ab", decoding=None, classes=("sky", "road")):
    """Return the file of a session on images, which are made where they are missing."""
    files = [folder / name for name in images]
    for file in files:
        if not file.exists():
            file.write_text("a photo")
    return KeptAddress.of(folder / ".address", files, decoding, classes)


def begin(kept, port=0, host=HOST):
    """Return the address of a session that has ended."""
    opened, address = listen(host, port, kept)
    opened.close()
    return address


def test_next_session_has_the_same_address(kept):
    first = begin(kept)
    assert begin(kept) == first
    assert begin(kept, first.port) == first
    assert first.token in kept.path.read_text()


def test_only_the_user_can_read_it(kept):
    before = os.umask(0)
    try:
        begin(kept)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "meaning", [{"images": "ba"}, {"images": "abc"}, {"decoding": {"page": 1}}, {"classes": ("sky",)}]
)
def test_other_images_and_classes_end_old_pages(kept, tmp_path, meaning):
    """An old page calls images and classes by numbers, which mean something else now."""
    first = begin(kept)
    assert begin(keep(tmp_path)) == first
    assert begin(keep(tmp_path, **meaning)).token != first.token


def test_a_changed_image_ends_old_pages(kept, tmp_path):
    """An old page calls pixels by their places in the image as it was, which may have had another width."""
    first = begin(kept)
    (tmp_path / "b").write_text("another photo")
    assert begin(keep(tmp_path)).token != first.token


def test_a_taken_port_ends_old_pages(kept):
    """Who has it may have learned the token from an old page, which asks again and again."""
    first = begin(kept)
    with closing(socket.create_server((HOST, first.port))):
        second = begin(kept)
    assert second.port != first.port
    assert second.token != first.token
    assert begin(kept, first.port).token not in (first.token, second.token)


def test_an_address_of_the_network_is_not_kept(kept):
    """Its token goes over the network as it is, so whoever has heard it must not have it for ever."""
    first = begin(kept)
    assert begin(kept, host="0.0.0.0").token != first.token
    assert not kept.path.exists()
    assert begin(kept, host="localhost").token != begin(kept).token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_file_that_others_can_use_is_not_taken(kept, mode):
    first = begin(kept)
    kept.path.chmod(mode)
    assert begin(kept).token != first.token
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


def test_a_file_of_another_user_is_not_taken(kept, monkeypatch):
    first, user = begin(kept), os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert kept.read(HOST) is None
    kept.write(first)
    assert kept.path.read_bytes() == b"", "nothing is written to a file that is not this user's"


def test_a_link_is_not_followed(kept, tmp_path):
    first = begin(kept)
    other = kept.path.rename(tmp_path / "other")
    kept.path.symlink_to(other)
    assert kept.read(HOST) is None
    content = other.read_text()
    assert begin(kept).token != first.token
    assert other.read_text() == content
    assert not kept.path.is_symlink()


@pytest.mark.parametrize("change", [{"token": ""}, {"token": 7}, {"port": "80"}, {"port": 0}, {"port": 1 << 16}, None])
def test_a_damaged_file_is_replaced(kept, change):
    first = begin(kept)
    content = json.loads(kept.path.read_text())
    kept.path.write_text(json.dumps(content | change) if change else "{")
    assert kept.read(HOST) is None
    second = begin(kept)
    assert second.token != first.token
    assert len(second.token) == 32
    assert begin(kept) == second
