"""How images are predicted, and what is written of each."""

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
    """What to predict, how to write it, and how much to do at once.

    Attributes:
        outputs: the files to write of each image, names of `OUTPUTS`.
        class_fractions: whether to write a table of the fraction of each image's pixels that each class has.
        opacity: of the classes' colours in overlays, from 0 to 1.
        legend: whether overlays name the classes.
        adaptive: classify a coarse grid and refine it; for labels of a single view only. None: classify all pixels.
        tta: the views of an image that are averaged.
        bf16: whether to compute in bfloat16.
        batch_size: the most images of one size that are predicted together.
        num_workers: threads that read images, and as many that write outputs; with 0 neither happens ahead.
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
        """Check the values that no other class checks, and those that go together."""
        check_fraction("opacity", self.opacity)
        check_int("batch_size", self.batch_size, minimum=1)
        check_int("num_workers", self.num_workers, minimum=0)
        check_int("frame_stride", self.frame_stride, minimum=1)
        unknown = set(self.outputs) - set(OUTPUTS)
        if unknown:
            raise ArgumentError(f"outputs={sorted(unknown)} must be some of {', '.join(OUTPUTS)}")
        uncertain = [name for name in self.outputs if OUTPUTS[name].detail != "labels"]
        if self.adaptive is not None and (uncertain or self.tta != NO_TTA):
            other = f"the output {uncertain[0]}" if uncertain else "tta"
            raise ArgumentError(
                f"adaptive=true classifies some pixels only, of one view; leave out adaptive, or {other}"
            )

    @property
    def detail(self) -> Detail:
        """What must be predicted of each image, for all outputs together."""
        kinds = {OUTPUTS[name].detail for name in self.outputs}
        if "probabilities" in kinds:
            return "probabilities"
        return "certainty" if "certainty" in kinds else "labels"

    def output_settings(self) -> dict[str, Any]:
        """The outputs by name, each with the settings that decide its file beside the prediction."""
        settings: dict[str, Any] = dict.fromkeys(self.outputs, True)
        if "overlay" in settings:
            settings["overlay"] = [self.opacity, self.legend]
        return settings

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide what is predicted, as plain JSON values."""
        return {
            "adaptive": False if self.adaptive is None else list(astuple(self.adaptive)),
            "tta": [list(self.tta.scales), self.tta.flip],
            "precision": "bf16" if self.bf16 else "32",
        }

    def style(self, classes: Sequence[str], palette: Palette) -> RenderStyle:
        """How outputs show these classes."""
        return RenderStyle(classes, palette, self.opacity, self.legend)
