"""Find in the tasks of Label Studio which field names the image, and what path this field's text means."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from hypercolumns.data.annotations.image_rule import Parts, split_path
from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.io.images import SUFFIXES

WEB = ("http", "https")
LOCAL_FILES = "/local-files"  # the end of the path of a URL whose parameter `d` is the path of a file
UPLOADS = "/data/upload/"


class TaskImage(NamedTuple):
    """The image of a task, as a text of the task names it.

    Attributes:
        text: the text.
        parts: the folders and the file of the path that the text means.
        storage: where the path is from: the scheme and the host of a URL, or the name of another kind of storage.
        uploaded: whether the file was uploaded to Label Studio, which changes its name and drops its folders.
    """

    text: str
    parts: Parts
    storage: str
    uploaded: bool = False


def task_image(text: str) -> TaskImage:
    """Read the path of an image from a text of a task: a URL, a path of Label Studio's server, or a plain path."""
    plain = text.strip().replace("\\", "/")
    try:
        url = urlsplit(plain)
    except ValueError:  # such as brackets in the host
        return TaskImage(text, split_path(plain), "")
    if url.path.rstrip("/").endswith(LOCAL_FILES) and "d" in (query := parse_qs(url.query)):
        return TaskImage(text, split_path(query["d"][0]), LOCAL_FILES)
    if url.scheme in (*WEB, "file") or plain.startswith("/data/") or UPLOADS in plain:
        storage = f"{url.scheme}://{url.netloc}"
        return TaskImage(text, split_path(unquote(url.path)), storage, UPLOADS in url.path)
    if "://" in plain:  # the key of a bucket, in which no character is encoded
        return TaskImage(text, split_path(plain.partition("://")[2].partition("/")[2]), f"{url.scheme}://{url.netloc}")
    return TaskImage(text, split_path(unquote(plain)), "")


def uploaded_image(text: str) -> TaskImage:
    """Return the image of a task whose `file_upload` is this text."""
    return TaskImage(text, split_path(text), UPLOADS, uploaded=True)


def names_image(text: object) -> bool:
    """Whether a value of a task is a text that names an image file."""
    if not isinstance(text, str) or "\n" in text:
        return False
    return PurePosixPath("/", *task_image(text).parts).suffix.lower() in SUFFIXES


def choose_field(
    tasks: Sequence[Mapping[str, object]], pointed: set[str], given: str | int | None, source: str
) -> tuple[str, list[str]]:
    """Choose the field that names the image of each task.

    Args:
        tasks: the fields of each task.
        pointed: the names of the tags that regions belong to; the field of an image often has the same name.
        given: the field that the user names; None: the field that regions belong to, or else the only one that names
            image files.
        source: the export, for messages.

    Returns:
        The field, and a line for the user if other fields name image files, too.

    Raises:
        ArgumentError: if there is no such field, if it is not certain which one it is, or if regions belong to images
            of several fields.
    """
    fields = list(dict.fromkeys(field for task in tasks for field, text in task.items() if isinstance(text, str)))
    images = [field for field in fields if any(names_image(task.get(field)) for task in tasks)]
    tags = [field for field in fields if field in pointed]
    if len(tags) > 1:
        raise ArgumentError(
            f"annotations={source}: the regions of the tasks belong to several images, those of the fields "
            f"{shorten_list(tags)}; export tasks of one image each"
        )
    if given is not None:
        if str(given) not in fields:
            raise ArgumentError(
                f"image_field={given} is no field of the tasks of {source}; they have {shorten_list(fields)}"
            )
        return str(given), []
    candidates = tags or images
    if len(candidates) == 1:
        others = [field for field in images if field != candidates[0]]
        choice = f"the image of a task is its field {candidates[0]}, not {shorten_list(others)}"
        return candidates[0], [f"{choice}; if it is another one: data.image_field="] if others else []
    if not candidates:
        raise ArgumentError(
            f"image_field=None: no field of the tasks of {source} names an image file ({', '.join(SUFFIXES)}); they "
            f"have {shorten_list(fields) or 'no texts'}: set data.image_field=<the field of the tag Image>"
        )
    raise ArgumentError(
        f"image_field=None: several fields of the tasks of {source} may name the image: {shorten_list(candidates)}; "
        f"set data.image_field=<the field of the tag Image in the labelling configuration>"
    )
