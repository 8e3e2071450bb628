"""Files with the properties of networks in the user's cache folder, so that each network is derived only once.

The environment variable `HYPERCOLUMNS_CACHE` names the folder, or turns the files off if it is empty. The default is
`hypercolumns` in `$XDG_CACHE_HOME` or `~/.cache`. A file is ignored, and then replaced, if anything that the properties
follow from has changed: the rules of this package, the versions of the libraries, or the source of the network.
"""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import file_signature, write_json
from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones._body import TapModules


def load_derived(network: str, tap_modules: TapModules, channels: int, norm: bool) -> Mapping[str, Any] | None:
    """Load the properties of a network's maps that `save_derived` wrote.

    Args:
        network: the name of the network.
        tap_modules: for each tap, the paths of the tap's modules.
        channels: the number of channels of the images.
        norm: whether the network's last normalisation layer is applied to every map.

    Returns:
        The record, see `_network_info.to_record`; None if there is none that still holds.
    """
    file, origin = _file([network, tap_modules, channels, norm]), _origin(network)
    if file is None or origin is None:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        record = content["info"] if content["origin"] == origin else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None


def save_derived(
    network: str, tap_modules: TapModules, channels: int, norm: bool, record: Mapping[str, Any] | None
) -> None:
    """Save the properties of a network's maps, if the folder can be written.

    Args:
        network: the name of the network.
        tap_modules: for each tap, the paths of the tap's modules.
        channels: the number of channels of the images.
        norm: whether the network's last normalisation layer is applied to every map.
        record: the properties; None: nothing is saved.
    """
    file, origin = _file([network, tap_modules, channels, norm]), _origin(network)
    if file is None or origin is None or record is None:
        return
    with suppress(HypercolumnsError):  # of a folder that is read-only or full; the properties are then derived again
        write_json(file, {"origin": origin, "info": record})


def _file(key: list[Any]) -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get("HYPERCOLUMNS_CACHE", f"{base}/hypercolumns")
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return Path(folder).expanduser() / "networks" / f"{name}.json" if folder else None


def _origin(network: str) -> dict[str, str] | None:
    """Return what the properties follow from; None for a network whose source may change without a new version."""
    builder, libraries = networks.find_builder(network), networks.libraries(network)
    if builder is None or builder.__module__.partition(".")[0] not in libraries:
        return None
    source = inspect.getsourcefile(builder) or ""
    versions = {library: version(library) for library in libraries}
    return {**versions, "rules": _rules(), "source": file_signature(Path(source))}


def rule_files() -> list[Path]:
    """List the modules whose code determines the properties: all in this folder, and those of taps and their grids."""
    folder = Path(__file__).parent
    return sorted([*folder.rglob("*.py"), folder.parent / "taps.py", folder.parent / "alignment.py"])


@functools.cache
def _rules() -> str:
    return hashlib.sha256(b"".join(module.read_bytes() for module in rule_files())).hexdigest()
