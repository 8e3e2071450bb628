"""What a run was made with: the command, the versions, the commit, the machine."""

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


@dataclass(frozen=True)
class RunOrigin:
    """What a run is made with.

    Attributes:
        config: every setting, as YAML.
        command: as it was typed.
        device: that it runs on.
    """

    config: str
    command: str
    device: torch.device

    def write(self, folder: Path) -> None:
        """Write `config.yaml`, `environment.json` and, if the checkout differs from its commit, `changes.patch`."""
        (folder / "config.yaml").write_text(self.config, encoding="utf-8")
        write_json(folder / "environment.json", environment(self.command, self.device))
        if patch := changes(Path(__file__)):
            (folder / "changes.patch").write_text(patch, encoding="utf-8", errors="surrogateescape")


def environment(command: str, device: torch.device) -> dict[str, Any]:
    """For `environment.json`: all that is needed, beside the config and the data, to make a run again."""
    packages = ["hypercolumns", *(re.split(r"[^\w.-]", line)[0] for line in requires("hypercolumns") or ())]
    return {
        "command": command,
        "directory": str(Path.cwd()),
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
        "versions": {name: found for name in packages if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    """Of a package that may be optional, and not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    """The name of the CPU, where the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def commit(file: Path) -> dict[str, Any] | None:
    """The commit of the checkout that tracks `file`, and whether tracked files differ from it; None if none does."""
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)  # a package installed into somebody else's checkout is not
        return {
            "commit": _git(file, "rev-parse", "HEAD").strip(),
            "changed": bool(_git(file, "status", "--porcelain", "-uno").strip()),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def changes(file: Path) -> str:
    """By what the checkout that tracks `file` differs from its commit, as `git apply` takes it; empty if by nothing."""
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "diff", "--binary", "--no-ext-diff", "--no-color", "HEAD", "--", ":/")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(file: Path, *arguments: str) -> str:
    command = ["git", "-C", str(file.parent), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    return done.stdout.decode(errors="surrogateescape")  # files may be in any encoding
