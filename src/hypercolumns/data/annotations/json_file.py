"""Read the JSON files of annotation tools."""

import json
from pathlib import Path
from typing import Any

from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import read_text


def read_annotations(path: Path, name: str = "annotations") -> Any:
    """Return the content of a JSON file.

    Raises:
        ArgumentError: if the file can't be read, or is not valid JSON. The message begins with `name`.
    """
    text = read_text(path, name)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(
            f"{name}={path} is not valid JSON ({error}); export the file again, or give another file"
        ) from error
