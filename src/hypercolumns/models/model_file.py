"""Files that hold a complete model: a JSON header, which says what it is, and its tensors."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, is_out_of_memory, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.io.tensors import save_tensors
from hypercolumns.labels import Palette, is_class_name
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.networks import libraries
from hypercolumns.models.classifiers import KINDS, Classifier
from hypercolumns.models.extractor import EXTRACTION_SETTINGS, HypercolumnExtractor

HEADER = "hypercolumns"  # where both kinds of files keep the header
DIGEST = "sha256"  # in the header of a safetensors file, of all else in it; checkpoints have checksums of their own
FORMAT = 1
MAX_HEADER_LENGTH = 1_000_000  # characters; real ones have some thousands
TRAINED = "segmenter."  # what precedes the names of a segmenter's tensors in a module that trains all of it
MODEL_FILE = "model.safetensors"  # in the folder of a run
EXPECTED = f"pass the {MODEL_FILE} of a finished run, its folder, or one of its checkpoints"

HEADER_KEYS = {"format", "backbone", *EXTRACTION_SETTINGS, "classifier", "classes", "palette", "versions"}
MAX_RESIZE = 1 << 16  # pixels of a side that a model file may have images resized to

Header = Mapping[str, Any]
M = TypeVar("M", bound=nn.Module)


def make_header(
    backbone: Backbone,
    extractor_settings: Mapping[str, object],
    classifier: Classifier,
    classes: Sequence[str],
    palette: Palette,
) -> Header:
    """Say what the tensors of a model are of, as JSON can.

    Args:
        backbone: the model's.
        extractor_settings: what `HypercolumnExtractor.settings` gives.
        classifier: the model's.
        classes: their names.
        palette: their colours.
    """
    return {
        "format": FORMAT,
        "backbone": {key: value for key, value in backbone.fingerprint().items() if key != "weights"},
        **extractor_settings,
        "classifier": {"kind": classifier.kind, **classifier.settings()},
        "classes": classes,
        "palette": palette,
        "versions": {name: version(name) for name in ("hypercolumns", *libraries(backbone.network))},
    }


def write_model(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write one self-contained safetensors file, whole or not at all."""
    text = json.dumps({**header, DIGEST: _digest(header, tensors)})
    save_tensors(path, tensors, {HEADER: text})


def find_model(path: Path) -> Path:
    """The file that a path means, which may be a run's folder.

    Raises:
        ArgumentError: if there is none; the message begins with the path.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        what = f"is a folder without a {MODEL_FILE}" if path.is_dir() else "is not a file"
        raise ArgumentError(f"{path} {what}; {EXPECTED}")
    return file


def load_model(path: Path, make: Callable[..., M]) -> M:
    """Make a model of a file, or of the one in a run's folder, in evaluation mode.

    Args:
        path: of the file or the folder.
        make: called with the extractor, the classifier, the classes and the palette; its state dict is that of the
            file.

    Raises:
        ArgumentError: if it is missing, damaged, or something else; the message begins with the path.
    """
    path = find_model(path)
    header, tensors = read_model(path)
    try:
        _check_header(header, tensors)
        backbone_header, classifier_header = dict(header["backbone"]), dict(header["classifier"])
        kind = KINDS[classifier_header.pop("kind")]
        backbone = Backbone(**backbone_header, weights=_below("backbone.body.", tensors))
        classes = header["classes"]
        with torch.device("meta"):  # so that nothing large is made before it is known to fit
            classifier: Any = kind(backbone.channels, len(classes), **classifier_header)
        of_classifier = _below("classifier.", tensors)
        classifier.load_state_dict({name: one.float() for name, one in of_classifier.items()}, assign=True)
        settings = {name: header[name] for name in EXTRACTION_SETTINGS}
        settings["resize"] = tuple(settings["resize"]) if settings["resize"] else None
        extractor = HypercolumnExtractor(backbone, **settings)
        model = make(extractor, classifier, classes, tuple((r, g, b) for r, g, b in header["palette"]))
        model.load_state_dict(tensors)
    except Exception as error:  # of a header that may say anything
        if is_out_of_memory(error):
            raise
        raise ArgumentError(
            f"{path} does not hold what its header says ({summarize_error(error)}); "
            f"pass a {MODEL_FILE} that this program wrote"
        ) from error
    return model.eval()


def read_model(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors of a file that `write_model` wrote, or of a checkpoint with a `checkpoint_entry`.

    Nothing in it is executed. Raises ArgumentError, which begins with the path, if it is damaged or something else.
    """
    try:
        header, tensors = _read_checkpoint(path) if zipfile.is_zipfile(path) else _read_safetensors(path)
    except Exception as error:  # of a file that is anything at all
        if is_out_of_memory(error):
            raise
        raise ArgumentError(f"{path} is not a model of this program ({summarize_error(error)}); {EXPECTED}") from error
    return header, tensors


def checkpoint_entry(header: Header, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What makes a Lightning checkpoint a complete model: the header, and the tensors that its module lacks."""
    return {HEADER: {"header": json.dumps(header), "tensors": dict(tensors)}}


def _read_safetensors(path: Path) -> tuple[Header, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if HEADER not in metadata:
            raise ValueError("tensors without the description of a model")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    header = _header(metadata[HEADER])
    if DIGEST in header and header.pop(DIGEST) != _digest(header, tensors):  # earlier versions wrote none
        raise ValueError("it has changed since it was written: its sha256 differs")
    return header, tensors


def _read_checkpoint(path: Path) -> tuple[Header, dict[str, Tensor]]:
    checkpoint = checkpoints.load_plain(path)
    if HEADER not in checkpoint:
        raise ValueError("a checkpoint without the description of a model, as earlier versions wrote them")
    header, tensors = _header(checkpoint[HEADER]["header"]), checkpoint[HEADER]["tensors"]
    trained = {name.removeprefix(TRAINED): one for name, one in checkpoint["state_dict"].items()}
    parts = ("backbone.", "classifier.")  # a module has other things besides, such as its metrics
    return header, {**tensors, **{name: one for name, one in trained.items() if name.startswith(parts)}}


def _header(text: str) -> dict[str, Any]:
    if len(text) > MAX_HEADER_LENGTH:
        raise ValueError(f"its description has {len(text)} characters, more than {MAX_HEADER_LENGTH}")
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("a header of an unknown format")
    return header


def _check_header(header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for what the parts of a segmenter would take, and stumble over later or never end with."""
    unknown = set(header) - HEADER_KEYS
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is unknown")
    classes, palette, resize = header["classes"], header["palette"], header["resize"]
    if not isinstance(classes, list) or not all(map(is_class_name, classes)) or len(set(classes)) != len(classes):
        raise ValueError("classes must be different names")
    colours = isinstance(palette, list) and all(isinstance(one, list) and len(one) == 3 for one in palette)
    if not colours or len(palette) != len(classes) or not all(part in range(256) for one in palette for part in one):
        raise ValueError("palette must be the colours of the classes, [red, green, blue] from 0 to 255")
    sides = resize if isinstance(resize, list) else []
    if resize is not None and not (
        len(sides) == 2 and all(type(one) is int and 0 < one <= MAX_RESIZE for one in sides)
    ):
        raise ValueError(f"resize={resize} must be [height, width], up to {MAX_RESIZE}, or null")
    hidden = header["classifier"].get("hidden")
    if isinstance(hidden, list) and len(hidden) > len(tensors):
        raise ValueError("the classifier has more layers than there are tensors")
    spread = [name for name, one in tensors.items() if one.nbytes > one.untyped_storage().nbytes()]
    if spread:  # which could be of any size
        raise ValueError(f"{spread[0]} is larger than what the file holds of it")
    strange = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if strange:
        raise ValueError(f"{strange[0]} has numbers that are not finite")


def _below(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the module at that path (with its full stop), named as it names them."""
    return {name.removeprefix(path): tensor for name, tensor in tensors.items() if name.startswith(path)}


def _digest(header: Header, tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of all that a file says."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), [*tensor.shape]]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
