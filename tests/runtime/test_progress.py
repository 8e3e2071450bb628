import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from hypercolumns.runtime import progress
from hypercolumns.runtime.progress import ProgressBar, track


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by a value that the test sets; the output is not a terminal."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_track_prints_lines_and_a_summary(clock, capsys):
    for _ in track(range(1200), "work"):
        clock[0] += 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "work: 11/1200, 11 s"
    assert lines[1] == "work: 22/1200, 22 s"
    assert lines[-1] == "work: 1200 done in 1200.0 s"
    assert len(lines) < 50  # lines become rarer with time


def test_track_without_length(clock, capsys):
    for _ in track(iter(range(12)), "work"):
        clock[0] += 1
    assert "work: 11/?, 11 s" in capsys.readouterr().out


def test_no_summary_after_an_error(clock, capsys):
    def numbers():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(track(numbers(), "work"))
    assert capsys.readouterr().out == ""


def test_progress_bar_resumes_from_done(clock, capsys):
    with ProgressBar("train", 10, done=4, every=5.0, summary=False) as bar:
        clock[0] += 6
        bar.advance("loss 0.5")
        bar.say("epoch 1")
        clock[0] += 4
        bar.advance("too soon after that line")
    assert capsys.readouterr().out.splitlines() == ["train: 5/10, 6 s  loss 0.5", "epoch 1"]


def test_terminal_bar_shows_text_without_markup(monkeypatch, capsys):
    from rich.console import Console

    monkeypatch.setattr(progress, "console", Console(force_terminal=True, width=100))
    with ProgressBar("[work]", 2) as bar:
        bar.advance("loss [0.5]")
        bar.advance("loss [0.4]")
    output = capsys.readouterr().out
    assert "[work]" in output
    assert "loss [0.4]" in output


def test_notebook_shows_one_line_that_changes(clock, monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return handle

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(progress, "console", Console(force_jupyter=True))
    for _ in track(range(4), "work"):
        clock[0] += 0.6  # the line changes at most once a second
    assert shown == ["work: 0/4, 0 s", "work: 2/4, 1 s", "work: 4/4, 2 s", "work: 4 done in 2.4 s"]
