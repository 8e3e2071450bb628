"""Every command, snippet and link of the README and the docs."""

import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torchvision
from helpers.docs_world import make_world, random_weights
from helpers.markdown import Block, anchors, blocks, commands, inline_commands, links, substitute
from helpers.paths import ROOT
from helpers.quick import quick_pictures
from hydra.core.override_parser.overrides_parser import OverridesParser

import hypercolumns
from hypercolumns.cli.paths import quote_paths
from hypercolumns.runs.trained_run import TrainedRun
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.predict import check_predict_settings
from hypercolumns.settings.schema import stages_named, taken

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
OWN_TEST = {"extending.md"}  # tests/test_extending.py runs these pages in a copy of the project
RUN = [
    page for page in PAGES if page.name not in OWN_TEST and any(b.language in ("bash", "python") for b in blocks(page))
]
LANGUAGES = {"bash", "python", "text", "console", "yaml", "diff", "bibtex", "toml", "{toctree}", "{eval-rst}"}
TINY = [
    "trainer.max_epochs=1",
    "classifier.hidden=8",
    "num_workers=0",
    "bootstrap_samples=20",
    "embedding=0",
    "pixels=200",
    "rank.samples=500",
    "refine.steps=20",
    "refine.pixels=100",
]
FEW = {"trainer.max_epochs": 1, "search.trials": 2}  # in place of what a page says
TINY_SHAPES = ["data.train_images=6", "data.val_images=2"]
NOT_OURS = ("pip", "uv", "git", "pre-commit", "sbatch", "tensorboard", "source", "if")  # only in blocks with a need


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def world_once(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    make_world(place)
    return place


@pytest.fixture
def world(world_once, tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder that the pages' commands run in; ImageNet weights are random there."""
    shutil.copytree(world_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", random_weights)
    with quick_pictures():
        yield tmp_path


class Reader:
    """Do what a page says, in a folder, block by block."""

    def __init__(self, run_script, world: Path, monkeypatch):
        self.run_script, self.world, self.monkeypatch = run_script, world, monkeypatch
        self.variables: dict[str, str] = {}
        self.names: dict[str, object] = {"__name__": "snippet"}

    def follow(self, block: Block) -> None:
        if block.language == "python":
            self.python(block)
        elif block.language == "bash":
            for words in commands(block.text):
                assigned = re.fullmatch(r"(\w+)=(.*)", words[0], re.DOTALL) if len(words) == 1 else None
                if assigned:
                    self.variables[assigned[1]] = assigned[2]
                else:
                    self.command(substitute(words, self.variables), block.needs)

    def python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, "snippet", "exec")
        if not block.needs:
            with self.monkeypatch.context() as patch:
                patch.setattr(hypercolumns, "train", train_briefly)
                exec(code, self.names)

    def command(self, words: list[str], needs: str | None) -> None:
        if words[:2] == ["uv", "run"]:
            words = ["python"] * words[2].endswith(".py") + words[2:]
        if needs and "python" in words:
            words = words[words.index("python") :]  # without srun and its like
        while re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables for one command
            words = words[1:]
        if words[0] == "pytest":
            assert all((ROOT / word).exists() for word in words if "/" in word)
        elif words[0] == "torchrun":
            assert needs
            self.ours("train.py", words[words.index("train.py") + 1 :], needs)
        elif words[0] != "python":
            assert needs, f"{words}: a command that is not ours needs `<!-- needs: ... -->`"
            assert words[0] in NOT_OURS
        elif words[1] == "-m":
            assert find_spec(words[2])
            if not needs:
                self.monkeypatch.setattr(sys, "argv", words[2:])
                self.monkeypatch.delitem(sys.modules, words[2], raising=False)  # runpy warns of imported modules
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        elif words[1] in ("train.py", "predict.py"):
            self.ours(words[1], words[2:], needs)
        else:
            assert needs or words[1].startswith("benchmarks/"), "CI runs only the benchmarks"
            code = "".join((ROOT / path).read_text(encoding="utf-8") for path in (words[1], "benchmarks/common.py"))
            options = [word[2:] for word in words if word.startswith("--")]
            assert all(re.search(rf"\b{option}\b", code.replace("_", "-")) for option in options)

    def ours(self, script: str, settings: list[str], needs: str | None) -> None:
        if "--help" in settings or not needs:
            jobs = [self.tiny(script, settings)]
        else:
            jobs = sweep_jobs(settings) if "-m" in settings else [settings]
        for job in jobs:
            with self.monkeypatch.context() as patch:
                if needs:
                    patch.setattr("hypercolumns.stages.run_stage", check_settings)
                    patch.setattr("hypercolumns.stages.predict.predict", check_predict_settings)
                result = self.run_script(script, *job, cwd=self.world)
            assert result.returncode == 0, f"{script} {job}: {result.stderr[-2000:]}"

    def tiny(self, script: str, settings: list[str]) -> list[str]:
        """Add what makes a command of train.py quick."""
        if script == "predict.py" or "--help" in settings:
            return settings
        shapes = TINY_SHAPES if {"data=shapes", "experiment=demo"} & set(settings) else []
        given = {setting.partition("=")[0] for setting in settings}
        more = [setting for setting in [*TINY, *shapes] if setting.partition("=")[0] not in given]
        short = [f"{key}={FEW[key]}" if (key := setting.partition("=")[0]) in FEW else setting for setting in settings]
        return [*short, *taken(stages_named(settings)[0], more)]


def train_briefly(*given: Any, real: Callable[..., TrainedRun] = hypercolumns.train, **settings: Any) -> TrainedRun:
    """Call `hypercolumns.train` with what makes it quick, unless the page itself says how long to train."""
    tiny = (text.partition("=") for text in taken("all", TINY))
    more = {name.replace(".", "__"): int(value) for name, _, value in tiny}
    return real(*given, **(more | settings))


def sweep_jobs(settings: list[str]) -> list[list[str]]:
    """Return jobs of a sweep in which each value of each setting occurs."""
    parser = OverridesParser.create()
    values = []
    for setting in quote_paths([setting for setting in settings if setting != "-m"]):
        parsed = parser.parse_override(setting)
        sweep = parsed.sweep_string_iterator() if parsed.is_sweep_override() else ()
        values.append([f"{parsed.get_key_element()}={value}" for value in sweep] or [setting])
    return [[choices[job % len(choices)] for choices in values] for job in range(max(map(len, values)))]


@pytest.mark.slow(seconds=30)
@pytest.mark.parametrize("page", RUN, ids=name)
def test_commands_and_snippets_run(page, run_script, world, monkeypatch):
    reader = Reader(run_script, world, monkeypatch)
    for block in [*blocks(page), *inline_commands(page)]:
        try:
            reader.follow(block)
        except BaseException as error:
            error.add_note(f"{name(page)}:{block.line}")
            raise


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    dead = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = page.parent / unquote(path) if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_name_their_language(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert not re.search("<(a|img) ", page.read_text(encoding="utf-8")), "links in HTML are not checked"
