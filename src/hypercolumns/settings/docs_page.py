"""docs/settings.md, made from the declarations: `python -m hypercolumns.settings.docs_page`.

Defaults and their meanings come from `conf/`, the stages that take a setting from `settings.schema`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from hypercolumns.settings.schema import STAGES, stages_of

LINE = re.compile(r"^( *)([\w.]+):(?: +(?!#)(.*?))?(?: +# (.*))?$")
SKIPPED = ("_target_", "_partial_", "kind", "defaults", "hydra", "stage")
INTRODUCTION = """# Settings

Every setting of `train.py`, by the file of `conf/` that has its default. Any can be set on the command line,
`name=value`; `--help stage=<stage>` prints those of a stage. This page is made from the declarations, by
`python -m hypercolumns.settings.docs_page`.
"""


def page(conf: Path) -> str:
    """The page.

    Args:
        conf: the folder of the configs.

    Returns:
        Markdown: a table for each file, of its settings with their defaults, meanings and stages.
    """
    files = [
        conf / "train.yaml",
        *sorted(conf.glob("base/*.yaml")),
        *(conf / "stage" / f"{one}.yaml" for one in STAGES),
    ]
    groups = "cnn classifier sampler loss optimizer scheduler data trainer callbacks search".split()
    files += [path for group in groups for path in sorted((conf / group).glob("*.yaml"))]
    return "\n".join([INTRODUCTION, *(section for path in files for section in _section(path, conf))])


def _section(path: Path, conf: Path) -> Iterator[str]:
    """The table of a file, if it has settings."""
    group = path.parent.name if path.parent.name not in ("conf", "base", "stage") else ""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [row for row in _settings(lines, "" if "# @package _global_" in lines else group)]
    if not rows:
        return
    about = [line[2:] for line in lines if line.startswith("# ") and not line.startswith(("# @package", "# python"))]
    yield f"## {path.relative_to(conf).as_posix()}\n"
    if about:
        yield " ".join(about) + "\n"
    yield "| setting | default | meaning | stages |\n|---|---|---|---|"
    for name, default, meaning in rows:
        stages = ", ".join(stages_of(name))
        yield f"| `{name}` | `{default}` | {meaning} | {stages} |".replace("|  |", "| |")
    yield ""


def _settings(lines: list[str], group: str) -> Iterator[tuple[str, str, str]]:
    """Of each setting in a YAML file its name, default and meaning."""
    path: list[tuple[int, str]] = []
    hidden = -1  # the indentation of a part that is left out
    for line in lines:
        match = LINE.match(line)
        if line.lstrip().startswith(("#", "-")) or match is None:
            continue
        depth, key, default, meaning = len(match[1]), match[2], match[3], match[4]
        if 0 <= hidden < depth:
            continue
        hidden = -1
        while path and path[-1][0] >= depth:
            path.pop()
        if key in SKIPPED:
            hidden = depth
            continue
        path.append((depth, key))
        if default or meaning:
            name = ".".join([*([group] if group else []), *(key for _, key in path)])
            yield name, (default or "").replace("|", "\\|"), (meaning or "").replace("|", "\\|")


def main() -> None:
    """Write the page of the checkout that the command is run in."""
    Path("docs/settings.md").write_text(page(Path("conf")), encoding="utf-8")


if __name__ == "__main__":
    main()
