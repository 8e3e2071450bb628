"""Options of a prediction run: how to predict, which outputs to write, and how to draw them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from hypercolumns.errors import ArgumentError, check_fraction, check_int
from hypercolumns.labels import Palette
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.pixel_prediction import Detail
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.prediction.outputs import OUTPUTS, RenderStyle


@dataclass(frozen=True)
class PredictOptions:
    """How to predict, which outputs to write, and how many images to process at once.

    Attributes:
        outputs: the files to write for each image, as keys of `OUTPUTS`.
        class_fractions: whether to write a table with the fraction of each image's pixels that each class takes.
        opacity: opacity of the class colours in overlays, from 0 to 1.
        legend: whether overlays have a legend with the class names.
        adaptive: classify a coarse grid and refine it only where needed (approximate); gives only labels, of a single
            view. None: classify all pixels.
        tta: the views of an image whose probabilities are averaged.
        bf16: whether to compute under bfloat16 autocast.
        batch_size: the maximum number of images of one size that are predicted together.
        num_workers: the number of reading threads, and also of writing threads. 0: read and write in the main thread.
        frame_stride: predict every n-th frame of a video.

    Raises:
        ArgumentError: if a number is out of range, an output is unknown, or `adaptive` is combined with several views
            or with outputs that need more than labels.
    """

    outputs: tuple[str, ...] = ("mask", "overlay")
    class_fractions: bool = True
    opacity: float = 0.5
    legend: bool = True
    adaptive: AdaptiveSettings | None = None
    tta: TestTimeAugmentation = NO_TTA
    bf16: bool = False
    batch_size: int = 1
    num_workers: int = 1
    frame_stride: int = 1

    def __post_init__(self) -> None:
        """Check the values, and that they go together."""
        check_fraction("opacity", self.opacity)
        check_int("batch_size", self.batch_size, minimum=1)
        check_int("num_workers", self.num_workers, minimum=0)
        check_int("frame_stride", self.frame_stride, minimum=1)
        unknown = set(self.outputs) - set(OUTPUTS)
        if unknown:
            raise ArgumentError(f"outputs={sorted(unknown)} are unknown; choose from {', '.join(OUTPUTS)}")
        uncertain = [name for name in self.outputs if OUTPUTS[name].detail != "labels"]
        if self.adaptive is not None and (uncertain or self.tta != NO_TTA):
            other = f"the output {uncertain[0]}" if uncertain else "tta"
            raise ArgumentError(f"adaptive=true predicts only labels, of a single view; leave out adaptive, or {other}")

    @property
    def detail(self) -> Detail:
        """The most detailed prediction that any of the outputs needs."""
        kinds = {OUTPUTS[name].detail for name in self.outputs}
        if "probabilities" in kinds:
            return "probabilities"
        return "certainty" if "certainty" in kinds else "labels"

    def output_settings(self) -> dict[str, Any]:
        """Return each output with the settings, other than those of the prediction, that decide its file."""
        settings: dict[str, Any] = dict.fromkeys(self.outputs, True)
        if "overlay" in settings:
            settings["overlay"] = [self.opacity, self.legend]
        return settings

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that decide the predictions, as JSON values."""
        return {
            "adaptive": False if self.adaptive is None else list(astuple(self.adaptive)),
            "tta": [list(self.tta.scales), self.tta.flip],
            "precision": "bf16" if self.bf16 else "32",
        }

    def style(self, classes: Sequence[str], palette: Palette) -> RenderStyle:
        """Return the style in which outputs show these classes."""
        return RenderStyle(classes, palette, self.opacity, self.legend)
