"""Where the configs lie."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# A wheel has a copy of the folder inside the package; in the repository, it lies at the top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
