"""The packages that draw objects, whose other versions may draw other pixels."""

import importlib.metadata
from functools import cache


@cache
def library_version(package: str) -> str:
    """Return the name and the version of a package; only the name if it is not installed, and so draws nothing."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
