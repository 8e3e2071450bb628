"""Read the JSON files of annotation tools."""

import json
from pathlib import Path
from typing import Any

from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import read_text

MAX_JSON_BYTES = 1 << 16  # a file is recognised by its first bytes


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


def json_kind(path: Path) -> str | None:
    """Return `coco`, `labelme` or `label_studio`: the kind of annotations in a JSON file; None for other files."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(MAX_JSON_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
    keys = {
        name for name in ("shapes", "imagePath", "annotations", "images", "categories", "data") if f'"{name}"' in start
    }
    if {"shapes", "imagePath"} <= keys:
        return "labelme"
    if start.lstrip().startswith("[") and {"annotations", "data"} <= keys:
        return "label_studio"
    if start.lstrip().startswith("{") and "images" in keys and keys & {"annotations", "categories"}:
        return "coco"
    if len(start) < MAX_JSON_BYTES and start.lstrip().startswith("{"):
        return None
    in_lists = '"file_name"' in start or '"image_id"' in start  # the lists of images or of annotations come first
    return "coco" if start.lstrip().startswith("{") and in_lists else None
