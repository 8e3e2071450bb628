"""Checks of a backbone's values, for `networks.py`: maps, centres, windows, batches and dense logits.

Shapes: images are (B, 3, H, W). Errors are relative to the range of the reference.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from common import difference
from network_centres import centre_distances
from network_reference import Reference
from torch import Tensor

from hypercolumns import Backbone, HypercolumnExtractor, MLPClassifier, Segmenter
from hypercolumns.coordinates import full_image_box, normalised_coordinates
from hypercolumns.models import alignment
from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.window_sizes import window_margins

SIZES = ((101, 150), (224, 224), (10, 7))  # (height, width) of the images whose maps are compared, in pixels
DENSE_SIZE = (61, 90)
THIN = 49  # the height of the images of the check of windows, unless a network needs more
PERIOD, REMAINDERS = 64, (17, 37)  # the widths of these images are a multiple of the first, plus one of the others
MAX_TEST_PIXELS = 1_500_000  # the largest image of the check of windows
MAPS, WINDOWS, DENSE = 1e-5, 1e-4, 1e-5  # allowed errors
MAX_ROUNDING = 0.05  # a larger error is not due to rounding, even in deep networks
POINTS = 400


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes:
        figures: what was measured, by name.
        fault: what is wrong; empty if nothing is.
        untested: why something could not be tested; empty if everything was.
    """

    figures: Mapping[str, Any]
    fault: str = ""
    untested: str = ""


def check_maps(backbone: Backbone, reference: Reference) -> Result:
    """Compare the maps with timm's own, for images of several sizes; an image may have to be continued.

    Args:
        backbone: the backbone.
        reference: computes timm's maps, with the same weights.

    Returns:
        The largest error for each size, or "equal" if each bit is.
    """
    figures: dict[str, Any] = {}
    faults, untested = [], []
    for height, width in SIZES:
        size, name = (height, width), f"{height}x{width}"
        images = _noise(1, *size)
        try:
            seen = HypercolumnExtractor(backbone).view(images).seen.size
            error, kind = _tightest(backbone, MAPS, functools.partial(_maps_error, backbone, reference, images))
        except LookupError as problem:
            untested.append(f"timm's maps at {name}: {problem}")
            continue
        except Exception as problem:  # anything may fail here
            faults.append(f"fails at {name}: {type(problem).__name__}: {problem}"[:300])
            continue
        figures[f"maps {name}"] = "equal" if error == 0 and kind == "float32" else error
        figures[f"seen {name}"] = "x".join(map(str, seen))
        if kind == "float64":
            figures[f"dtype {name}"] = kind
        if not error <= MAPS:
            faults.append(f"maps at {name} differ from timm's by {error:.2g} of their range")
    return Result(figures, "; ".join(faults), "; ".join(untested))


def _maps_error(backbone: Backbone, reference: Reference, images: Tensor) -> float:
    """Return the largest error of the maps; a `LookupError` says that timm has no map to compare with."""
    images = images.to(backbone.mean.dtype)  # type: ignore[arg-type]
    view = HypercolumnExtractor(backbone).view(images)
    height, width = view.seen.size
    rows, columns = (
        torch.arange(side).clamp(max=given - 1) for side, given in zip(view.seen.size, images.shape[2:], strict=True)
    )
    if backbone.fixed_size is None:
        shown = images[:, :, rows][:, :, :, columns]
    else:
        shown = F.interpolate(images, backbone.fixed_size, mode="bilinear", antialias=True)
    expected = reference.maps(shown)
    if expected is None:
        raise LookupError(f"image of {height}x{width} pixels; {' | '.join(reference.failures)[:300]}")
    (window,) = view.windows()
    return max(_error(ours.values, theirs) for ours, theirs in zip(window.maps, expected, strict=True))


def check_centres(backbone: Backbone) -> Result:
    """Compare the declared centres with where the gradients of cells lie, see `network_centres`."""
    distances = centre_distances(backbone)
    faults = [
        f"cells of {tap} are {each.pixels:.1f} px from the declared centre (allowed: {each.allowed:.1f}, standard "
        f"error: {each.error:.1f})"
        for tap, each in distances.items()
        if each.is_fault
    ]
    unsure = [f"{tap} (standard error {each.error:.1f} px)" for tap, each in distances.items() if not each.is_sure]
    figures = {tap: [round(each.pixels, 2), round(each.error, 2)] for tap, each in distances.items()}
    kept = {tap: values for tap, values in figures.items() if not math.isnan(values[0])}
    untested = f"centres that can't be measured: {', '.join(unsure)}" if unsure else ""
    return Result({"centres px": kept}, "; ".join(faults), untested)


def check_windows(backbone: Backbone) -> Result:
    """Compare hypercolumns at points of an image in windows with those of the whole image.

    The images are wide strips, longer than the receptive fields. Their contrast changes along the strip. Maps of all
    usual strides have an odd number of columns in one of them.
    """
    margins = window_margins(backbone)
    if margins is None:
        return Result({"windows": "none"})
    height = max(backbone.min_side, THIN)
    widths = [-(-(3 * margins[1] + 2 * height) // PERIOD) * PERIOD + more for more in REMAINDERS]
    if height * max(widths) > MAX_TEST_PIXELS:
        return Result(
            {"windows": "available"}, untested=f"windows: not tested, needs {height * widths[0] / 1e6:.1f} MP"
        )
    strips = [torch.linspace(0.1, 1, width) * _noise(1, height, width) for width in widths]

    def measure() -> float:
        return max(_windows_error(backbone, strip.to(backbone.mean.dtype)) for strip in strips)  # type: ignore[arg-type]

    error, kind = _tightest(backbone, WINDOWS, measure)
    fault = "" if error <= WINDOWS else f"windows differ from the whole image by {error:.2g} of the range"
    return Result({"windows": "available", "windows error": error, "windows dtype": kind}, fault)


def _windows_error(backbone: Backbone, images: Tensor) -> float:
    points = torch.rand(1, POINTS, 2, generator=torch.Generator().manual_seed(4)) * (torch.tensor(images.shape[2:]) - 1)
    whole = HypercolumnExtractor(backbone, max_window_pixels=images.shape[2] * images.shape[3])
    parts = HypercolumnExtractor(backbone, max_window_pixels=1)
    assert sum(1 for _ in parts.view(images).windows()) > 1, "the image is not cut"
    channels = [tap.channels for tap in backbone.taps]
    ours, expected = (extractor.at(images, points).split(channels, -1) for extractor in (parts, whole))
    return max(map(_error, ours, expected))


def check_batch(backbone: Backbone) -> Result:
    """Compare the maps of two images in a batch with those of each image alone."""
    images = _noise(2, *SIZES[0])

    def measure() -> float:
        inputs = images.to(backbone.mean.dtype)  # type: ignore[arg-type]
        both, first, second = (_window(backbone, part) for part in (inputs, inputs[:1], inputs[1:]))
        return max(
            _error(maps.values, torch.cat([one.values, other.values]))
            for maps, one, other in zip(both, first, second, strict=True)
        )

    error, kind = _tightest(backbone, MAPS, measure)
    fault = "" if error <= MAPS else f"a batch differs from single images by {error:.2g} of the range"
    return Result({"batch": error, "batch dtype": kind}, fault)


def check_dense(backbone: Backbone) -> Result:
    """Compare dense logits with those of upsampled and concatenated maps, by the declared centres."""
    torch.manual_seed(2)
    height, width = DENSE_SIZE
    images = _noise(1, height, width)
    rows, columns = torch.arange(height), torch.arange(width)
    hypercolumns = alignment.dense(_window(backbone, images), rows, columns).flatten(2)[0]
    classifier = MLPClassifier(backbone.channels, 5, 16)
    classifier.set_statistics(hypercolumns.mean(1), hypercolumns.std(1) + 1e-3 * hypercolumns.std())
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, list("abcde")).eval()

    def measure() -> float:
        dtype = backbone.mean.dtype
        inputs = images.to(dtype)  # type: ignore[arg-type]
        segmenter.to(dtype)  # type: ignore[arg-type]
        view = segmenter.extractor.view(inputs)
        (window,) = view.windows()
        scales = dict(zip(("row_centres", "column_centres"), view.seen.scales, strict=True))
        values = [tap_map.values for tap_map in window.maps]
        maps = [
            tap_map._replace(**{name: (getattr(tap_map, name) + 0.5) / scale - 0.5 for name, scale in scales.items()})
            for tap_map in alignment.locate_maps(backbone.taps, values, view.seen.size, "exact")
        ]
        vectors = alignment.dense(maps, rows, columns).flatten(2).transpose(1, 2)
        grid = torch.cartesian_prod(rows.double(), columns.double())[None]
        where = normalised_coordinates(grid[..., 0], grid[..., 1], full_image_box((height, width)))
        expected = classifier(vectors, where).transpose(1, 2).unflatten(2, (height, width))
        return _error(segmenter(inputs), expected)

    error, kind = _tightest(backbone, DENSE, measure)
    fault = "" if error <= DENSE else f"dense logits differ from the reference by {error:.2g} of their range"
    return Result({"dense": error, "dense dtype": kind}, fault)


def run_checks(backbone: Backbone, reference: Reference, tell: Callable[[dict[str, Any]], None]) -> None:
    """Run all checks.

    Args:
        backbone: the backbone.
        reference: computes timm's maps, with the same weights.
        tell: called before each check with its name, and after it with the figures and the lists of faults and of
            untested things so far.
    """
    checks: dict[str, Callable[[], Result]] = {
        "maps": lambda: check_maps(backbone, reference),
        "batch": lambda: check_batch(backbone),
        "dense": lambda: check_dense(backbone),
        "windows": lambda: check_windows(backbone),
        "centres": lambda: check_centres(backbone),
    }
    faults: list[str] = []
    untested: list[str] = []
    for name, check in checks.items():
        tell({"at": name})
        start = time.process_time()
        try:
            with torch.set_grad_enabled(name == "centres"):
                result = check()
        except Exception as error:  # a network may fail in any way
            result = Result({}, f"the check of {name} fails: {type(error).__name__}: {error}"[:300])
        faults += [result.fault] if result.fault else []
        untested += [result.untested] if result.untested else []
        seconds = {f"{name} seconds": round(time.process_time() - start, 2)}
        tell({**result.figures, **seconds, "faults": faults, "untested": untested})


def _tightest(backbone: Backbone, allowed: float, measure: Callable[[], float]) -> tuple[float, str]:
    """Measure an error in float32 or, if rounding may make it too large there, in float64.

    Args:
        backbone: the backbone; its data type is changed for the second measurement.
        allowed: the largest allowed error.
        measure: measures the error with the data type of the backbone.

    Returns:
        The error and the data type.
    """
    error = measure()
    if error <= allowed or error > MAX_ROUNDING:
        return error, "float32"
    backbone.double()
    try:
        return measure(), "float64"
    finally:
        backbone.float()


def _window(backbone: Backbone, images: Tensor) -> list[FeatureMap]:
    (window,) = HypercolumnExtractor(backbone).windows(images)
    return window.maps


def _error(ours: Tensor, expected: Tensor) -> float:
    if ours.shape != expected.shape:
        return math.inf
    if torch.equal(ours, expected):
        return 0.0
    if not expected.isfinite().all():
        raise ArithmeticError("the values are not finite")
    return difference(ours, expected)


def _noise(*shape: int) -> Tensor:
    count, height, width = shape
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
