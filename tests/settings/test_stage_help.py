"""The help of a stage gives the meanings of its settings."""

from helpers.paths import ROOT

from hypercolumns.settings.stage_help import stage_help


def test_help_of_a_stage_gives_the_meanings(run_script, tmp_path):
    text = run_script("train.py", "--help", "stage=annotate", cwd=tmp_path).stdout
    assert "\n  open=true                  true: open the page in the browser | false: only print its URL\n" in text
    own = text.split("Settings of stage=annotate:")[1].split("All settings")[0]
    assert max(map(len, own.splitlines())) <= 120


def test_unknown_stage_has_no_help():
    assert stage_help(ROOT / "conf", "none") == ""
