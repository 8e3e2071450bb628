"""Record how a run was made: its command, package versions, commit and machine."""

import functools
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

import hypercolumns
from hypercolumns.io.files import write_json
from hypercolumns.runs.file_names import ENVIRONMENT


@dataclass(frozen=True)
class RunOrigin:
    """The config, command and device of a run.

    Attributes:
        config: every setting, as YAML.
        command: the command line as the user typed it.
        device: the device that the run uses.
        sweep: the folder of the sweep whose job makes the run; None: no sweep.
    """

    config: str
    command: str
    device: torch.device
    sweep: Path | None = None

    def write(self, folder: Path) -> None:
        """Write `config.yaml` and `environment.json` to a folder.

        If the code has uncommitted changes, also write these changes as `changes.patch`.
        """
        (folder / "config.yaml").write_text(self.config, encoding="utf-8")
        write_json(folder / ENVIRONMENT, environment(self))
        if patch := changes(Path(__file__)):
            (folder / "changes.patch").write_text(patch, encoding="utf-8", errors="surrogateescape")


def environment(origin: RunOrigin) -> dict[str, Any]:
    """Describe the command, code, packages and device of a run, for `environment.json`."""
    device = origin.device
    packages = ["hypercolumns", *(re.split(r"[^\w.-]", line)[0] for line in requires("hypercolumns") or ())]
    return {
        "command": origin.command,
        "directory": str(Path.cwd()),
        "sweep": None if origin.sweep is None else str(origin.sweep),
        "git": commit(Path(hypercolumns.__file__)),
        "device": {
            "type": device.type,
            "name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: installed for name in packages if (installed := _version(name)) is not None},
    }


@functools.cache  # each version is read from a file, and a sweep asks for all of them in every job
def _version(package: str) -> str | None:
    """Return the version of a package; None if the package is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    """Return the name of the CPU; None if the system does not report its name."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def commit(file: Path) -> dict[str, Any] | None:
    """Identify the commit of the Git checkout that tracks `file`.

    Returns:
        A dictionary with two items. `commit` is the hash of the commit. `changed` says whether tracked files of the
        checkout differ from the commit. None if no checkout tracks the file, or if Git fails.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)  # fails if the checkout does not track the file
        return {
            "commit": _git(file, "rev-parse", "HEAD").strip(),
            "changed": bool(_git(file, "status", "--porcelain", "-uno").strip()),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def changes(file: Path) -> str:
    """Return the uncommitted changes of the Git checkout that tracks `file`, as a patch.

    Return "" if there are no changes, if no checkout tracks the file, or if Git fails.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "diff", "--binary", "--no-ext-diff", "--no-color", "HEAD", "--", ":/")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(file: Path, *arguments: str) -> str:
    command = ["git", "-C", str(file.parent), *arguments]
    completed = subprocess.run(command, capture_output=True, check=True, timeout=10)
    return completed.stdout.decode(errors="surrogateescape")  # a patch can contain files of any encoding
