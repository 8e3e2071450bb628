"""Labels on the disk: what a kill at any place leaves, and what others do to the files."""

import json
import resource
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from hypercolumns.annotation.labels import edit_history, stored_labels
from hypercolumns.annotation.labels.journal import read_journal
from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules
from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.annotation.labels.pixel_runs import Change, parse_runs
from hypercolumns.annotation.labels.stored_labels import StoredLabels
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme

SIZE = (8, 12)
SCHEME = LabelScheme.of(["sky", "tree", "road"])
RULES = LabelRules(SCHEME, MaskCoding.of(SCHEME))


@pytest.fixture
def files(tmp_path):
    return LabelFiles(tmp_path / "a.png", tmp_path / ".annotation" / "a.png.journal")


@pytest.fixture
def lines():
    return []


def opened(files, lines=None, rules=RULES):
    return StoredLabels(files, rules, SIZE, (lines if lines is not None else []).append)


def change(value, *runs):
    return [Change(value, parse_runs(list(runs), SIZE[0] * SIZE[1]))]


def edits(labels, count, seed=0):
    """Make random edits, with some undos and redos, and return the labels after each of them."""
    random, states = np.random.default_rng(seed), []
    for _ in range(count):
        turn = random.random()
        if turn < 0.2 and labels.state().undo:
            labels.undo()
        elif turn < 0.3 and labels.state().redo:
            labels.redo()
        else:
            labels.edit(change(int(random.choice([0, 1, 2, 255])), int(random.integers(0, 80)), 10))
        states.append(labels.snapshot())
    return states


def on_disk(files):
    return read_mask(files.mask, SCHEME).numpy()


def test_mask_holds_the_labels_and_void_elsewhere(files):
    labels = opened(files)
    labels.edit(change(2, 3, 2, 20, 1))
    labels.write()
    expected = np.full(96, 255)
    expected[[3, 4, 20]] = 2
    assert on_disk(files).ravel().tolist() == expected.tolist()
    with Image.open(files.mask) as image:
        assert image.mode == "P"
    assert labels.state() == (1, 0, [0, 0, 3])


def test_undo_and_redo_go_through_all_states(files):
    labels = opened(files)
    states = [labels.snapshot()]
    for value, start in ((0, 0), (1, 5), (255, 3), (2, 4)):
        labels.edit(change(value, start, 10))
        states.append(labels.snapshot())
    for state in states[-2::-1]:
        labels.undo()
        assert (labels.snapshot() == state).all()
    with pytest.raises(HypercolumnsError, match="nothing can be undone"):
        labels.undo()
    for state in states[1:]:
        labels.redo()
        assert (labels.snapshot() == state).all()
    with pytest.raises(HypercolumnsError, match="nothing can be redone"):
        labels.redo()
    assert labels.state().labelled == np.bincount(states[-1].ravel(), minlength=256)[:3].tolist()


def test_an_edit_without_effect_is_no_step(files):
    labels = opened(files)
    labels.edit(change(1, 0, 5))
    labels.edit(change(1, 2, 3))
    assert labels.state().undo == 1


def test_kill_at_any_byte_loses_later_edits_only(files, tmp_path, lines):
    """Cut the journal at each byte behind the mask's last record: the labels are those of the last whole line."""
    labels = opened(files)
    edits(labels, 5)
    labels.write()
    base = files.journal.stat().st_size
    before = labels.snapshot()
    states = edits(labels, 6, seed=1)
    content = files.journal.read_bytes()
    ends = [base, *(base + i + 1 for i, byte in enumerate(content[base:]) if byte == 10)]
    for cut in range(base, len(content) + 1):
        copy = LabelFiles(tmp_path / "b.png", tmp_path / ".annotation" / "b.png.journal")
        shutil.copy(files.mask, copy.mask)
        copy.journal.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends) - 1
        again = opened(copy, lines)
        assert (again.snapshot() == ([before, *states][whole])).all()
    assert lines == []


@pytest.mark.parametrize("moment", ["before the record", "before the mask", "before the confirmation"])
def test_kill_while_the_mask_is_written(files, monkeypatch, moment, lines):
    labels = opened(files)
    edits(labels, 4)
    labels.write()
    expected = edits(labels, 4, seed=2)[-1]
    appended, content = labels.journal.append, files.mask.read_bytes()
    lost = {"mask", "written"} if moment == "before the record" else {"written"}
    monkeypatch.setattr(
        labels.journal, "append", lambda entry, flush=False: None if lost & {*entry} else appended(entry)
    )
    labels.write()
    if moment != "before the confirmation":
        files.mask.write_bytes(content)
    state = labels.state()
    again = opened(files, lines)
    assert (again.snapshot() == expected).all()
    assert again.state() == state
    assert lines == []
    again.undo()
    again.write()
    assert (on_disk(files) == again.snapshot()).all()


def test_history_survives_a_restart(files, lines):
    labels = opened(files)
    states = [labels.snapshot(), *edits(labels, 30)]
    undo = labels.state().undo
    labels.write()
    again = opened(files, lines)
    assert again.state().undo == undo > 3
    assert (again.snapshot() == states[-1]).all()
    for _ in range(undo):
        again.undo()
    assert (again.snapshot() == 255).all()
    assert lines == []


def test_operations_are_known_after_a_restart(files, monkeypatch):
    monkeypatch.setattr(stored_labels, "COMPACT_STEPS", 2)
    labels = opened(files)
    labels.edit(change(0, 0, 4), operation="a")
    labels.edit(change(1, 2, 4), operation="b")
    labels.undo("c")
    for again in (labels, opened(files)):
        again.undo("c")
        again.edit(change(1, 0, 9), operation="b")
        assert again.state() == (1, 1, [4, 0, 0])
    labels.write()
    assert [entry["done"] for entry in read_journal(files.journal) if "done" in entry] == [["a", "b", "c"]], "compacted"
    again = opened(files)
    again.undo("c")
    assert again.state() == (1, 1, [4, 0, 0])
    again.redo("d")
    again.redo("d")
    assert again.state() == (2, 0, [2, 4, 0])


@pytest.mark.parametrize("compact_steps", [0, 100])
def test_a_repeated_batch_is_done_once(files, monkeypatch, compact_steps):
    """The first edit erases pixels without a label. If only it were made again, it would erase the second one."""
    monkeypatch.setattr(stored_labels, "COMPACT_STEPS", compact_steps)
    labels = opened(files)
    batch = [(change(255, 0, 4), "a"), (change(1, 0, 4), "b"), (change(1, 0, 2), "c")]
    for again in (labels, labels, opened(files)):
        for edit, operation in batch:
            again.edit(edit, operation=operation)
        assert again.state() == (1, 0, [0, 4, 0])
    labels.write()
    labels.edit(change(2, 0, 4), operation="d")
    for again in (labels, opened(files)):
        for edit, operation in batch:
            again.edit(edit, operation=operation)
        assert again.state() == (2, 0, [0, 0, 4])
    assert [name for entry in read_journal(files.journal) for name in entry.get("done", ())] == ["a", "b", "c", "d"]


def test_an_edit_is_repeated_over_another_mask(files, lines):
    """A kill came before the mask was written, and something else wrote one before the page repeats its edit."""
    opened(files).edit(change(1, 0, 4), operation="a")
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save(files.mask)
    labels = opened(files, lines)
    labels.edit(change(1, 0, 4), operation="a")
    assert labels.state() == (1, 0, [0, 4, 92])
    assert "was changed by something else" in lines[0]


def test_a_long_history_is_bounded(files, monkeypatch, lines):
    monkeypatch.setattr(edit_history, "MAX_STEPS", 6)
    monkeypatch.setattr(stored_labels, "COMPACT_STEPS", 12)
    labels, sizes = opened(files), []
    for seed in range(30):
        edits(labels, 5, seed)
        labels.undo()
        labels.write()
        sizes.append(files.journal.stat().st_size)
        if seed % 7 == 0:
            state, pixels = labels.state(), labels.snapshot()
            labels.write()
            labels = opened(files, lines)
            assert (labels.state(), labels.snapshot().tolist()) == (state, pixels.tolist())
    assert labels.state().undo <= 6
    assert max(sizes) < 3 * max(sizes[:3])
    assert lines == []


def test_a_mask_that_others_changed_is_taken(files, lines):
    labels = opened(files)
    edits(labels, 5)
    labels.write()
    other = np.full(SIZE, 1, np.uint8)
    files.mask.write_bytes(RULES.coding.encode(other, files.mask))
    again = opened(files, lines)
    assert (again.snapshot() == other).all()
    assert again.state().undo == 0
    assert len(lines) == 1
    assert "changed by something else" in lines[0]
    again.edit(change(2, 0, 4))
    again.write()
    copies = [path for path in files.journal.parent.iterdir() if path.suffix == ".png"]
    assert [read_mask(path, SCHEME).unique().tolist() for path in copies] == [[1]]


def test_an_older_mask_that_was_put_back_stays(files, lines):
    labels = opened(files)
    labels.edit(change(0, 0, 4))
    labels.write()
    old = files.mask.read_bytes()
    labels.edit(change(1, 0, 4))
    labels.write()
    files.mask.write_bytes(old)
    assert opened(files, lines).state().labelled == [4, 0, 0]
    assert len(lines) == 1


def test_a_mask_that_was_deleted_stays_deleted(files, lines):
    labels = opened(files)
    labels.edit(change(0, 0, 4))
    labels.write()
    files.mask.unlink()
    assert opened(files, lines).state() == (0, 0, [0, 0, 0])
    assert len(lines) == 1


def test_a_change_in_the_session_is_copied(files, lines):
    labels = opened(files, lines)
    labels.edit(change(0, 0, 4))
    labels.write()
    files.mask.write_bytes(RULES.coding.encode(np.full(SIZE, 2, np.uint8), files.mask))
    labels.edit(change(1, 0, 4))
    labels.write()
    assert (on_disk(files) == labels.snapshot()).all()
    copy = lines[0].split("; ")[1].split(" is a copy")[0]
    assert read_mask(files.journal.parent / copy.rpartition("/")[2], SCHEME).unique().tolist() == [2]


def test_looking_at_an_image_writes_nothing(files, tmp_path):
    opened(files).write()
    assert [*tmp_path.rglob("*")] == []


def test_a_mask_of_colours_is_read_by_its_colours(files):
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[:] = SCHEME.palette[0]
    rgb[2:4] = SCHEME.palette[2]
    Image.fromarray(rgb).save(files.mask)
    content = files.mask.read_bytes()
    labels = opened(files)
    assert labels.state().labelled == [72, 0, 24]
    assert files.mask.read_bytes() == content
    labels.edit(change(1, 0, 1))
    labels.write()
    assert (on_disk(files) == labels.snapshot()).all()
    assert [path.read_bytes() for path in files.journal.parent.glob("*.png")] == [content]


@pytest.mark.parametrize("content", [b"", b"no image", "cut", "other size"])
def test_an_unusable_mask_is_refused_and_stays(files, content):
    if isinstance(content, str):
        whole = RULES.coding.encode(np.zeros((9, 12), np.uint8), files.mask)
        content = whole[:-20] if content == "cut" else whole
    files.mask.write_bytes(content)
    with pytest.raises(HypercolumnsError, match=r"a\.png"):
        opened(files)
    assert files.mask.read_bytes() == content


def test_other_classes_end_the_history_only(files, lines):
    labels = opened(files)
    labels.edit(change(1, 0, 4))
    labels.write()
    labels.edit(change(2, 0, 2))  # a kill comes before the mask is written
    more = LabelScheme.of(["sky", "tree", "road", "car"])
    again = opened(files, lines, LabelRules(more, MaskCoding.of(more)))
    assert again.state() == (0, 0, [0, 2, 2, 0])
    assert len(lines) == 1


def test_only_pixels_without_a_label_get_one(files):
    labels = opened(files)
    labels.edit(change(1, 2, 3))
    changed = labels.edit(change(0, 0, 8), only_unlabelled=True)
    assert [one.as_json() for one in changed] == [{"value": 0, "runs": [0, 2, 5, 3]}]
    assert labels.state() == (2, 0, [5, 3, 0])
    assert labels.edit(change(2, 1, 3), only_unlabelled=True) == ()
    labels.undo()
    assert labels.state() == (1, 1, [0, 3, 0])


def test_a_full_disk_fails_the_first_edit_alone(files):
    labels = opened(files)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            labels.edit(change(1, 0, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not files.journal.exists()
    labels.edit(change(2, 0, 4))
    assert opened(files).state() == (1, 0, [0, 0, 4])


def test_a_full_disk_leaves_no_half_line(files):
    labels = opened(files)
    labels.edit(change(0, 0, 4))
    labels.write()
    whole = files.journal.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 7, limits[1]))
    try:
        with pytest.raises(OSError, match="only 7 of"):
            labels.edit(change(1, 0, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files.journal.read_bytes() == whole
    assert labels.state() == (1, 0, [4, 0, 0])


def test_each_line_has_its_checksum(files):
    labels = opened(files)
    edits(labels, 3)
    for line in files.journal.read_bytes().splitlines():
        checksum, _, text = line.partition(b" ")
        assert int(checksum, 16) == zlib.crc32(text)
        json.loads(text)
