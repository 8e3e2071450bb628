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
    """The options of a prediction run.

    Attributes:
        outputs: the outputs to write for each image, as keys of `OUTPUTS`.
        class_fractions: whether to write the class fractions of each image to a CSV file, see `write_class_fractions`.
        opacity: the opacity of the class colours in overlays, from 0 (only the image is visible) to 1.
        legend: whether overlays have a legend with the class names.
        adaptive: the settings of adaptive prediction. It is approximate, predicts only labels, and can't average over
            several views. None: classify all pixels.
        tta: the views of an image (flipped or scaled copies) over which the probabilities are averaged. By default, the
            image itself is the only view.
        bf16: whether to predict under bfloat16 autocast; otherwise, all computations are in float32.
        batch_size: the maximum number of images of one size that are predicted together, at least 1.
        num_workers: the number of threads that read images. The same number of further threads writes outputs. 0: the
            main thread reads images and writes outputs.
        frame_stride: the step between the predicted frames of a video, at least 1. With n, every n-th frame is
            predicted, beginning with the first.

    Raises:
        ArgumentError: if an output is unknown, if `opacity`, `batch_size`, `num_workers` or `frame_stride` is out of
            its range, or if `adaptive` is combined with several views or with an output that needs more than labels.
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
        """Check each value, and that `adaptive` is compatible with `outputs` and `tta`."""
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
            raise ArgumentError(
                f"adaptive=true predicts only labels, and only from a single view; leave out adaptive=true or {other}"
            )

    @property
    def detail(self) -> Detail:
        """The least detailed kind of prediction that suffices for all outputs, see `pixel_prediction.Detail`."""
        kinds = {OUTPUTS[name].detail for name in self.outputs}
        if "probabilities" in kinds:
            return "probabilities"
        return "certainty" if "certainty" in kinds else "labels"

    def output_settings(self) -> dict[str, Any]:
        """Return a dictionary from the name of each output to its drawing options (JSON values).

        Only `overlay` has drawing options: [opacity, legend]. The value for the other outputs is True.
        """
        settings: dict[str, Any] = dict.fromkeys(self.outputs, True)
        if "overlay" in settings:
            settings["overlay"] = [self.opacity, self.legend]
        return settings

    def fingerprint(self) -> dict[str, Any]:
        """Return the options that decide the predicted labels and probabilities, by name, as JSON values."""
        return {
            "adaptive": False if self.adaptive is None else list(astuple(self.adaptive)),
            "tta": [list(self.tta.scales), self.tta.flip],
            "precision": "bf16" if self.bf16 else "32",
        }

    def style(self, classes: Sequence[str], palette: Palette) -> RenderStyle:
        """Return the drawing style: a model's class names and colours, with the options `opacity` and `legend`."""
        return RenderStyle(classes, palette, self.opacity, self.legend)
