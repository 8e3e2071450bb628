"""Files that hold a complete model: its tensors, and a JSON header that describes its architecture."""

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

from hypercolumns.errors import ArgumentError, check_int, is_out_of_memory, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.io.decoding import AS_STORED, RULES, ImageDecoding
from hypercolumns.io.tensors import save_tensors
from hypercolumns.labels import LabelScheme, Palette, is_class_name
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.networks import libraries
from hypercolumns.models.backbones.weights import damaged_tensors, is_weights_folder
from hypercolumns.models.classifiers import KINDS, Classifier
from hypercolumns.models.extractor import EXTRACTION_SETTINGS, HypercolumnExtractor
from hypercolumns.models.second_pass import SecondPass

HEADER = "hypercolumns"  # the key of the header in the metadata of a safetensors file, and in a checkpoint
DIGEST = "sha256"  # the key of the model's hash in the header; not used in checkpoints, which have checksums
FORMAT = 2
MAX_HEADER_LENGTH = 1_000_000  # characters; the header of a real model has some thousands
TRAINED = "segmenter."  # prefix of the segmenter's tensors in the state dict of `SegmentationTask`
MODEL_FILE = "model.safetensors"  # file name in a run's folder
EXPECTED = f"pass the {MODEL_FILE} of a finished run, the run's folder, or one of the run's checkpoints"

DECODING = "decoding"  # key of the rules for reading images; missing in the header of a model without such rules
MASKS = "masks"  # key of the rules for true masks; missing if masks hold class indices or the classes' colours
SECOND_PASS = "second_pass"  # key that only the header of a model with a second pass has
MAX_WINDOW = "max_window_pixels"  # key that only the header of a model with `window_overlap` has
DESCRIPTION_KEYS = {"classes", "palette", DECODING, MASKS, "versions"}
HEADER_KEYS = {"format", "backbone", *EXTRACTION_SETTINGS, MAX_WINDOW, "classifier", SECOND_PASS, *DESCRIPTION_KEYS}
MAX_RESIZE = 1 << 16  # maximum height and width in pixels of `resize` in a model file

Header = Mapping[str, Any]
M = TypeVar("M", bound=nn.Module)


def make_header(
    backbone: Backbone,
    extractor_settings: Mapping[str, object],
    classifier: Classifier,
    classes: Sequence[str],
    palette: Palette,
    decoding: ImageDecoding = AS_STORED,
    mask_rules: Mapping[str, Any] | None = None,
    second_pass: SecondPass | None = None,
) -> Header:
    """Describe the architecture of a model as JSON-compatible values.

    Args:
        backbone: the model's backbone.
        extractor_settings: the result of `HypercolumnExtractor.settings`.
        classifier: the model's classifier.
        classes: the names of the classes, in the order of the classifier's outputs.
        palette: the colours of the classes, in the same order.
        decoding: the rules by which image files become RGB.
        mask_rules: the rules by which true masks become class indices, see `LabelScheme.mask_rules`; None or {}: the
            usual ones.
        second_pass: the model's second pass, if it has one.

    Returns:
        The header, with the keys `HEADER_KEYS`. The keys `DECODING` and `MASKS` are left out if the rules are the
        usual ones, and `SECOND_PASS` if there is one pass, so that earlier versions, which would ignore them, read only
        models that they understand.
    """
    rules = decoding.settings()
    return {
        "format": FORMAT,
        "backbone": {
            **{key: value for key, value in backbone.fingerprint().items() if key != "weights"},
            "info": backbone.info,
        },
        **extractor_settings,
        "classifier": {"kind": classifier.kind, **classifier.settings()},
        **({SECOND_PASS: second_pass.settings()} if second_pass else {}),
        "classes": classes,
        "palette": palette,
        **({DECODING: rules} if rules else {}),
        **({MASKS: mask_rules} if mask_rules else {}),
        "versions": {name: version(name) for name in ("hypercolumns", *libraries(backbone.network))},
    }


def write_model(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write a model as one self-contained safetensors file. The file appears at `path` only when it is complete.

    Args:
        path: the path of the file.
        header: the result of `make_header`.
        tensors: the state dict of the model, on the CPU.
    """
    text = json.dumps({**header, DIGEST: digest(header, tensors)})
    save_tensors(path, tensors, {HEADER: text})


def find_model(path: Path) -> Path:
    """Return the path of a model file: `path` itself, or `path / "model.safetensors"` if `path` is a folder.

    Raises:
        ArgumentError: if this file does not exist; the message begins with `path`.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        what = f"is a folder without a {MODEL_FILE}" if path.is_dir() else "is not a file"
        raise ArgumentError(f"{path} {what}; {EXPECTED}")
    return file


def is_model(path: Path) -> bool:
    """Return whether a path is a folder or a file with a model of this project, and not with weights alone.

    Any folder counts, except folders of the Hugging Face Hub.
    """
    try:
        if not zipfile.is_zipfile(path):
            with safetensors.safe_open(path, framework="pt") as file:
                return HEADER in (file.metadata() or {})
        with zipfile.ZipFile(path) as archive:  # the names of all entries are in a small member of the archive
            names = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            found = HEADER.encode() in archive.read(names)
        return found and HEADER in checkpoints.load_plain(path)
    except Exception:  # a folder, or any other file
        return path.is_dir() and not is_weights_folder(path)


def load_model(path: Path, make: Callable[..., M]) -> M:
    """Load a model from a model file, from a run's folder, or from a checkpoint.

    Args:
        path: the path of the model file, of the run's folder, or of a checkpoint.
        make: the class `Segmenter`, or a function with the same arguments. It creates the model from the extractor, the
            classifier, the names of the classes, the palette, and the rules for reading images and masks. The state
            dict of this model must have the same names and shapes as the tensors in the file.

    Returns:
        The model that `make` created, with the file's weights, in evaluation mode on the CPU.

    Raises:
        ArgumentError: if the file is missing, is damaged or holds no model; the message begins with the path.
    """
    path = find_model(path)
    header, tensors = read_model(path)
    try:
        _check_header(header, tensors)
        backbone_header, classifier_header = dict(header["backbone"]), dict(header["classifier"])
        kind = KINDS[classifier_header.pop("kind")]
        channels = len(backbone_header["mean"])
        backbone = Backbone(**backbone_header, weights=_below("backbone.body.", tensors), input_channels=channels)
        classes = header["classes"]
        with torch.device("meta"):  # on this device, large sizes in a forged header allocate no memory
            classifier: Any = kind(backbone.channels, len(classes), **classifier_header)
        classifier_tensors = _below("classifier.", tensors)
        classifier.load_state_dict({name: tensor.float() for name, tensor in classifier_tensors.items()}, assign=True)
        settings = {name: header[name] for name in EXTRACTION_SETTINGS}
        settings |= {MAX_WINDOW: header[MAX_WINDOW]} if MAX_WINDOW in header else {}
        settings["resize"] = tuple(settings["resize"]) if settings["resize"] else None
        extractor = HypercolumnExtractor(backbone, **settings)
        palette = tuple((r, g, b) for r, g, b in header["palette"])
        scheme = LabelScheme.of_rules(classes, palette, header.get(MASKS, {}))
        decoding = ImageDecoding(**header.get(DECODING, {}))
        second = _second_pass(header, tensors)
        model = make(extractor, classifier, classes, palette, decoding, scheme, second)
        model.load_state_dict(tensors)
    except Exception as error:  # the header can hold any values, so any error is possible
        if is_out_of_memory(error):
            raise
        raise ArgumentError(
            f"{path} can't be loaded as a model ({summarize_error(error)}); pass a {MODEL_FILE} that this program wrote"
        ) from error
    return model.eval()


def _second_pass(header: Header, tensors: Mapping[str, Tensor]) -> SecondPass | None:
    """Build the second pass that a header describes, with the tensors of a model file; None if there is none."""
    if SECOND_PASS not in header:
        return None
    with torch.device("meta"):  # see `load_model`
        second = SecondPass(len(header["classes"]), **header[SECOND_PASS])
    own = _below(f"{SECOND_PASS}.", tensors)
    second.load_state_dict({name: tensor.float() for name, tensor in own.items()}, assign=True)
    return second


def read_model(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read the header and the tensors of a model, without executing anything from the file.

    Args:
        path: the path of a file that `write_model` wrote, or of a checkpoint that contains the items of
            `checkpoint_entry`.

    Returns:
        The header, and a dictionary of the tensors by their names in the state dict of `Segmenter`.

    Raises:
        ArgumentError: if the file is damaged or holds no model; the message begins with the path.
    """
    try:
        header, tensors = _read_checkpoint(path) if zipfile.is_zipfile(path) else _read_safetensors(path)
    except Exception as error:  # the file can hold any bytes, so any error is possible
        if is_out_of_memory(error):
            raise
        raise ArgumentError(f"{path} can't be read as a model ({summarize_error(error)}); {EXPECTED}") from error
    return header, tensors


def checkpoint_entry(header: Header, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the items that a Lightning checkpoint must contain for `read_model` to read a model from the checkpoint.

    Args:
        header: the result of `make_header`.
        tensors: the tensors of the model that the checkpoint's state dict does not contain.

    Returns:
        A dictionary with one item, whose key is `HEADER`.
    """
    return {HEADER: {"header": json.dumps(header), "tensors": dict(tensors)}}


def _read_safetensors(path: Path) -> tuple[Header, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if HEADER not in metadata:
            raise ValueError("the file holds tensors, but no header that describes a model")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    header = _header(metadata[HEADER])
    if DIGEST in header and header.pop(DIGEST) != digest(header, tensors):  # files of earlier versions lack the hash
        raise ValueError("the file has changed since it was written: its sha256 is not the one in its header")
    return header, tensors


def _read_checkpoint(path: Path) -> tuple[Header, dict[str, Tensor]]:
    checkpoint = checkpoints.load_plain(path)
    if HEADER not in checkpoint:
        raise ValueError(
            "the checkpoint has no header that describes a model; earlier versions of the program wrote none"
        )
    header, tensors = _header(checkpoint[HEADER]["header"]), checkpoint[HEADER]["tensors"]
    trained = {name.removeprefix(TRAINED): tensor for name, tensor in checkpoint["state_dict"].items()}
    parts = ("backbone.", "classifier.")  # leaves out the other tensors of the LightningModule, such as its metrics
    return header, {**tensors, **{name: tensor for name, tensor in trained.items() if name.startswith(parts)}}


def _header(text: str) -> dict[str, Any]:
    if len(text) > MAX_HEADER_LENGTH:
        raise ValueError(f"the header has {len(text)} characters, but at most {MAX_HEADER_LENGTH} are allowed")
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"the header is not of format {FORMAT}, the only format that this version can read")
    return header


def _check_header(header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Check a model's header and tensors for errors that the constructors of the model do not find.

    Without these checks, a model with such an error would fail later or take too much memory.

    Raises:
        ValueError: if the header or a tensor is invalid.
    """
    unknown = set(header) - HEADER_KEYS
    if unknown:
        raise ValueError(f"the header has unknown keys: {', '.join(sorted(unknown))}")
    if MAX_WINDOW in header:
        check_int(f"the header's {MAX_WINDOW}", header[MAX_WINDOW], minimum=1)
    if not set(header.get(DECODING, {})) <= set(RULES):
        raise ValueError(f"the header's {DECODING}={header[DECODING]} must have no keys but {', '.join(RULES)}")
    classes, palette, resize = header["classes"], header["palette"], header["resize"]
    if not isinstance(classes, list) or not all(map(is_class_name, classes)) or len(set(classes)) != len(classes):
        raise ValueError(
            "the header's classes must be a list of valid class names, without repetitions; a valid name is not blank "
            "and has no control characters"
        )
    colours = isinstance(palette, list) and all(isinstance(rgb, list) and len(rgb) == 3 for rgb in palette)
    if not colours or len(palette) != len(classes) or not all(value in range(256) for rgb in palette for value in rgb):
        raise ValueError("the header's palette must list [red, green, blue], with values from 0 to 255, for each class")
    sides = resize if isinstance(resize, list) else []
    if resize is not None and not (
        len(sides) == 2 and all(type(side) is int and 0 < side <= MAX_RESIZE for side in sides)
    ):
        raise ValueError(
            f"the header's resize={resize} must be null, or [height, width] in pixels, each from 1 to {MAX_RESIZE}"
        )
    hidden = header["classifier"].get("hidden")
    if isinstance(hidden, list) and len(hidden) > len(tensors):
        raise ValueError("the header's classifier has more hidden layers than the file has tensors")
    # A checkpoint can hold an expanded tensor, which is a tensor of any size that shares a few bytes of memory.
    expanded = [name for name, tensor in tensors.items() if tensor.nbytes > tensor.untyped_storage().nbytes()]
    if expanded:
        raise ValueError(f"tensor {expanded[0]} is larger than the data that the file holds for it")
    if damaged := damaged_tensors(tensors):
        raise ValueError(f"tensor {damaged[0]} contains infinite values or NaN")


def _below(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `path`, such as `classifier.`; in the result, the names lack `path`."""
    return {name.removeprefix(path): tensor for name, tensor in tensors.items() if name.startswith(path)}


def digest(header: Header, tensors: Mapping[str, Tensor]) -> str:
    """Return one SHA-256, in hexadecimal, of the header and of the names, dtypes, shapes and values of all tensors."""
    sha = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), [*tensor.shape]]).encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
