"""Generate docs/settings.md: run `python -m hypercolumns.settings.docs_page` in the root of a checkout.

The YAML files in `conf/` give the defaults and the meanings of the settings. `settings.schema` gives the stages that
take a setting.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from hypercolumns.settings.schema import STAGES, stages_of

LINE = re.compile(r"^( *)([\w.]+):(?: +(?!#)(.*?))?(?: +# (.*))?$")
SKIPPED = ("_target_", "_partial_", "kind", "defaults", "hydra", "stage")
# The beginnings of comment lines that hold a directive for Hydra or a command, and do not describe the file.
COMMANDS = ("# @package ", "# python ", "# torchrun --")
INTRODUCTION = """# Settings

The settings of `train.py` with their defaults, one table for each file in `conf/`. To change a setting, write
`name=value` on the command line. To choose a file in a folder of `conf/`, write `folder=file`, for example
`cnn=resnet18`. A stage refuses settings that it does not use. `python train.py --help stage=<stage>` prints the
settings of one stage. The settings of `predict.py` are in the [last section](#predictyaml).

This page is generated. After a change in `conf/`, run `python -m hypercolumns.settings.docs_page`.
"""


def page(conf: Path) -> str:
    """Return docs/settings.md as Markdown, with a table for each file in the folder `conf` that has settings.

    A row of a table gives the name, the default and the meaning of a setting and, except for predict.yaml, the stages
    that take the setting.
    """
    files = [
        conf / "train.yaml",
        *sorted(conf.glob("base/*.yaml")),
        *(conf / "stage" / f"{stage}.yaml" for stage in STAGES),
    ]
    groups = "cnn classifier sampler loss optimizer scheduler data trainer logger callbacks search".split()
    files += [path for group in groups for path in sorted((conf / group).glob("*.yaml"))]
    files += [conf / "predict.yaml"]
    return "\n".join([INTRODUCTION, *(section for path in files for section in _section(path, conf))])


def _section(path: Path, conf: Path) -> Iterator[str]:
    """Yield the heading, the description and the table of the settings in a YAML file, as texts of the page.

    Yield nothing if the file has no settings. The heading is the path of the file in the folder `conf`.
    """
    group = path.parent.name if path.parent.name not in ("conf", "base", "stage") else ""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = list(settings_in(lines, "" if "# @package _global_" in lines else group))
    if not rows:
        return
    description = [line[2:] for line in lines if line.startswith("# ") and not line.startswith(COMMANDS)]
    yield f"## {path.relative_to(conf).as_posix()}\n"
    if description:
        yield _escaped(" ".join(description)) + "\n"
    of_train = path.name != "predict.yaml"  # predict.py has no stages
    yield "| setting | default | meaning |" + " stages |" * of_train + "\n|---|---|---|" + "---|" * of_train
    for name, default, meaning in rows:
        default = default.replace("|", "\\|")
        shown = {"": "", "???": "no default"}.get(default, f"`{default}`")
        cells = [f"`{name}`", shown, _escaped(meaning), *[", ".join(stages_of(name))] * of_train]
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |")
    yield ""


def settings_in(lines: list[str], group: str) -> Iterator[tuple[str, str, str]]:
    """Yield (name, default, meaning) of each setting in the lines of a YAML file.

    `group` is the prefix of the names, such as `cnn` for `cnn.taps`; empty: no prefix. A missing default or meaning is
    an empty text.
    """
    path: list[tuple[int, str]] = []
    hidden = -1  # indentation of an entry that is skipped with its children; -1: no such entry
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
            yield name, default or "", meaning or ""


def _escaped(text: str) -> str:
    """Put a backslash before characters that would end a cell of a Markdown table (|) or begin an HTML tag (<)."""
    return text.replace("|", "\\|").replace("<", "\\<")


def main() -> None:
    """Write docs/settings.md; the current folder must be the root of a checkout."""
    Path("docs/settings.md").write_text(page(Path("conf")), encoding="utf-8")


if __name__ == "__main__":
    main()
