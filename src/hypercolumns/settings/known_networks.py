"""Write the table of known networks: run `python -m hypercolumns.settings.known_networks` in the root of a checkout.

The table holds the properties of the maps of each network in `conf/cnn`, which programs otherwise derive from the
network's layers. A file of `conf/cnn` begins with a command that uses the file; its settings `cnn` choose the network.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones._assembly import assemble
from hypercolumns.models.backbones._body import TapModules
from hypercolumns.models.backbones._network_info import KNOWN, make_key, to_record
from hypercolumns.models.backbones.tap_names import split_taps
from hypercolumns.settings.compose import plain


def selected(path: Path) -> tuple[str, TapModules, bool]:
    """Return the network, the modules of each tap, and `norm`, that the command atop a file of `conf/cnn` chooses."""
    command = path.read_text(encoding="utf-8").splitlines()[0]
    with initialize_config_dir(str(path.parents[1].resolve()), version_base="1.3"):
        cnn = plain(compose("train", re.findall(r"\bcnn[.\w]*=\S+", command)).cnn)
    network = str(cnn["network"])
    return network, split_taps(cnn["taps"] or networks.default_taps(network))[0], cnn["norm"]


def record(network: str, taps: TapModules, norm: bool = False) -> dict[str, Any] | None:
    """Derive the properties of a network and its taps; None if no formulas give them, see `to_record`.

    Args:
        network: the name of the network.
        taps: the modules of each tap.
        norm: whether the network's last normalisation layer is applied to every map.

    Returns:
        The record.
    """
    tapped = assemble(make_key(network, taps, norm=norm), lambda: networks.build_blank(network), known=None)
    return to_record(tapped.info)


def records(conf: Path) -> Iterator[dict[str, Any]]:
    """Yield an entry of the table for each network of the folder `conf` that is not one of this project."""
    choices = dict.fromkeys(selected(path) for path in sorted(conf.glob("cnn/[!_]*.yaml")))
    for network, taps, norm in choices:
        if network not in networks.OWN and (info := record(network, taps, norm)) is not None:
            versions = networks.layer_versions(network)
            yield {"network": network, "taps": taps, "norm": norm, "versions": versions, "info": info}


def main() -> None:
    """Write the table; the current folder must be the root of a checkout."""
    lines = ",\n".join(map(json.dumps, records(Path("conf"))))
    KNOWN.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
