"""The thread that writes masks."""

import time

import numpy as np

from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules
from hypercolumns.annotation.labels.label_store import LabelStore, address_path, journal_path, locked_folder
from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.annotation.labels.pixel_runs import Change
from hypercolumns.labels import LabelScheme

SCHEME = LabelScheme.of(["sky", "tree"])


def test_journals_share_no_name_with_other_files(tmp_path):
    """Images may lie in folders called lock or address; an image of such a folder must be labelled, too."""
    with locked_folder(tmp_path):
        address_path(tmp_path).write_text("")
        for name in ("lock", "address"):
            journal_path(tmp_path, tmp_path / name / "a.png").parent.mkdir()


def test_a_bug_keeps_no_other_mask_from_the_disk(tmp_path, monkeypatch):
    files = [LabelFiles(tmp_path / f"{name}.png", tmp_path / ".annotation" / f"{name}.journal") for name in "ab"]
    encode, lines = MaskCoding.encode, []

    def fail_at_a(coding, labels, path):
        return encode(coding, labels, path) if path.stem == "b" else {}[path.stem]

    monkeypatch.setattr(MaskCoding, "encode", fail_at_a)
    store = LabelStore(files, LabelRules(SCHEME, MaskCoding.of(SCHEME)), lines.append)
    for number in range(2):
        with store.opened(number, (4, 6)) as labels:
            labels.edit([Change(1, np.array([[0, 3]]))])
    for _ in range(200):
        if files[1].mask.is_file():
            break
        time.sleep(0.02)
    assert files[1].mask.is_file()
    assert any("a.png can't be written (no 'a')" in line for line in lines)
    store.close()
