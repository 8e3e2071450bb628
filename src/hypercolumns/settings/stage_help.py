"""The settings of a stage with their meanings, for `--help`."""

import textwrap
from pathlib import Path

from hypercolumns.settings.docs_page import settings_in

INDENT, WIDTH = "  ", 120


def stage_help(conf: Path, stage: str) -> str:
    """Return the settings in the file of a stage, each with its default and its meaning.

    The settings that several stages share are not among them; docs/settings.md has all.
    """
    file = conf / "stage" / f"{stage}.yaml"
    if not file.is_file():
        return ""
    rows = [row for row in settings_in(file.read_text(encoding="utf-8").splitlines(), "") if row[2]]
    heads = [f"{INDENT}{name}={default}" for name, default, _ in rows]
    column = max(map(len, heads), default=0) + len(INDENT)
    lines = []
    for head, (_, _, meaning) in zip(heads, rows, strict=True):
        lines += textwrap.wrap(
            meaning, WIDTH, initial_indent=head.ljust(column), subsequent_indent=" " * column, break_long_words=False
        )
    return "\n".join([f"Settings of stage={stage}:", "", *lines, ""]) if lines else ""
