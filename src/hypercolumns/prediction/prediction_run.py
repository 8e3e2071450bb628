"""The prediction of many images into one folder: read, skip or predict, write, record."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.images import read_mask
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.prediction.batches import batch_frames, predict_batch
from hypercolumns.prediction.class_fractions import (
    CLASS_FRACTIONS,
    describe_class_fractions,
    write_class_fractions,
)
from hypercolumns.prediction.ground_truth import GroundTruth
from hypercolumns.prediction.inputs import read_frames
from hypercolumns.prediction.manifest import PredictionManifest
from hypercolumns.prediction.options import PredictOptions
from hypercolumns.prediction.ordered_pool import OrderedPool
from hypercolumns.prediction.outputs import OUTPUTS, ImagePrediction
from hypercolumns.prediction.sources import Frame, Origin, Source
from hypercolumns.runtime.progress import ProgressBar, console

MAX_NAME_BYTES = 255  # of a file, on common file systems


@dataclass
class RunSummary:
    """What a run did.

    Attributes:
        names: of the images that are done.
        done_before: how many of them an earlier run had done.
        problems: what went wrong with others, a line each.
    """

    names: list[str] = field(default_factory=list)
    done_before: int = 0
    problems: list[str] = field(default_factory=list)


class PredictionRun:
    """Predicts images into the folder of a manifest, and does not do again what that says is done.

    Attributes:
        summary: what has been done so far.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        options: PredictOptions,
        manifest: PredictionManifest,
        ground_truth: GroundTruth | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            segmenter: on the device that predicts.
            options: whose outputs are those of the manifest.
            manifest: started, in its `with`.
            ground_truth: true masks that each prediction is compared with; none by default.
        """
        self.segmenter, self.options, self.manifest, self.ground_truth = segmenter, options, manifest, ground_truth
        self.style = options.style(segmenter.classes, segmenter.palette)
        self.summary = RunSummary()

    def run(self, sources: Sequence[Source]) -> RunSummary:
        """Predict the images of these sources; the class fractions are written even if it is stopped.

        An image that can't be read is among the summary's problems, and does not stop the others.

        Raises:
            HypercolumnsError: if an output can't be written, or a file of somebody else would be replaced.
        """
        try:
            self._predict(sources)
            if self.summary.done_before:
                console.print(f"done before: {self.summary.done_before} (overwrite=true does them again)", markup=False)
        finally:
            self._report_class_fractions()
        return self.summary

    def _predict(self, sources: Sequence[Source]) -> None:
        workers = self.options.num_workers
        total = None if any(source.video for source in sources) else len(sources)
        frames = read_frames(sources, self._must_read, self.options.frame_stride, workers)
        with ProgressBar("predict", total) as bar, OrderedPool(self._write, workers) as writers:
            for batch in batch_frames(frames, self.options.batch_size):  # read
                if batch[0].image is None:  # skip
                    self._skip(batch[0])
                    bar.advance()
                    continue
                self._begin(batch)
                for prediction in predict_batch(self.segmenter, batch, self.options):  # predict
                    for written in writers.submit(prediction):  # write
                        self._note(written)
                        bar.advance()
            for written in writers.drain():
                self._note(written)
                bar.advance()

    def _must_read(self, name: str, origin: Origin | None) -> bool:
        return not self._name_problem(name) and not self.manifest.is_done(name, origin)

    def _name_problem(self, name: str) -> str:
        """What is wrong if an output's name is longer than file systems take; nothing otherwise."""
        files = (self.manifest.path(name, output).name for output in self.manifest.outputs)
        longest = max(files, key=len, default="")
        too_long = len(os.fsencode(longest)) > MAX_NAME_BYTES
        return f"{longest} is too long for a file's name; rename the image" if too_long else ""

    def _skip(self, frame: Frame) -> None:
        """Note an image that can't be predicted, or was predicted before: its mask is then compared from its file."""
        problem = frame.problem or self._name_problem(frame.name)
        if problem:
            self.summary.problems.append(problem)
            return
        self.summary.done_before += 1
        self.summary.names.append(frame.name)
        if self.ground_truth is not None:
            mask = self.manifest.path(frame.name, "mask")
            self._compare(frame.name, read_mask(mask, self.style.palette, len(self.style.classes)))

    def _begin(self, batch: Iterable[Frame]) -> None:
        for frame in batch:
            self.manifest.check(frame.name, frame.origin)
            self.manifest.begin(frame.name, frame.origin)

    def _write(self, prediction: ImagePrediction) -> ImagePrediction:
        """Write the outputs of an image that are missing; runs in a thread."""
        frame = prediction.frame
        for output in self.manifest.missing(frame.name, frame.origin):
            OUTPUTS[output].write(self.manifest.path(frame.name, output), prediction, self.style)
        return prediction

    def _note(self, prediction: ImagePrediction) -> None:
        """Note that the outputs of an image are written, and compare its labels."""
        frame = prediction.frame
        pixels = np.bincount(prediction.labels.ravel(), minlength=len(self.style.classes))
        self.manifest.add(frame.name, frame.origin, pixels.tolist())
        self.summary.names.append(frame.name)
        self._compare(frame.name, torch.from_numpy(prediction.labels))

    def _compare(self, name: str, labels: Tensor) -> None:
        if self.ground_truth is None:
            return
        try:
            self.ground_truth.compare(name, labels)
        except HypercolumnsError as error:
            self.summary.problems.append(str(error))

    def _report_class_fractions(self) -> None:
        """Write and print the class fractions of the images that are done, if there are any."""
        pixels = {name: self.manifest.pixels(name) for name in sorted(self.summary.names)}
        if not pixels:
            return
        if self.options.class_fractions:
            write_class_fractions(self.manifest.out / CLASS_FRACTIONS, pixels, self.style.classes)
        console.print(describe_class_fractions(pixels, self.style.classes), markup=False)
