"""Predict many images into one folder: read, skip or predict, write, record."""

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

MAX_NAME_BYTES = 255  # limit of common file systems


@dataclass
class RunSummary:
    """The result of a prediction run.

    Attributes:
        names: the names of the images that are predicted now, including those from earlier runs.
        done_before: the number of images in `names` that an earlier run had predicted.
        problems: one line for each image that could not be read, predicted or scored.
    """

    names: list[str] = field(default_factory=list)
    done_before: int = 0
    problems: list[str] = field(default_factory=list)


class PredictionRun:
    """Predict images into the folder of a manifest, and skip those that the manifest lists as done.

    Args:
        segmenter: the model, in evaluation mode, on the device that predicts.
        options: the options; their `output_settings()` must be the outputs of the manifest.
        manifest: the record of the folder, within its `with` block and after `start`.
        ground_truth: the true masks to compare the predictions with; None: compare nothing.

    Attributes:
        summary: the result so far.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        options: PredictOptions,
        manifest: PredictionManifest,
        ground_truth: GroundTruth | None = None,
    ) -> None:
        self.segmenter, self.options, self.manifest, self.ground_truth = segmenter, options, manifest, ground_truth
        self.style = options.style(segmenter.classes, segmenter.palette)
        self.summary = RunSummary()

    def run(self, sources: Sequence[Source]) -> RunSummary:
        """Predict the images of these sources.

        An image that can't be read becomes a problem in the summary; the run goes on with the other images. The class
        fractions are reported even if the run is interrupted.

        Raises:
            HypercolumnsError: if an output can't be written, or writing it would replace a file that this program did
                not write.
        """
        try:
            self._predict(sources)
            if self.summary.done_before:
                skipped = f"skipped: {self.summary.done_before} predicted before (overwrite=true predicts them again)"
                console.print(skipped, markup=False)
        finally:
            self._report_class_fractions()
        return self.summary

    def _predict(self, sources: Sequence[Source]) -> None:
        workers = self.options.num_workers
        total = None if any(source.video for source in sources) else len(sources)
        frames = read_frames(sources, self._must_read, self.options.frame_stride, workers)
        with ProgressBar("predict", total) as bar, OrderedPool(self._write, workers) as writers:
            for batch in batch_frames(frames, self.options.batch_size):
                if batch[0].image is None:
                    self._skip(batch[0])
                    bar.advance()
                    continue
                self._begin(batch)
                for prediction in predict_batch(self.segmenter, batch, self.options):
                    for written in writers.submit(prediction):
                        self._note(written)
                        bar.advance()
            for written in writers.drain():
                self._note(written)
                bar.advance()

    def _must_read(self, name: str, origin: Origin | None) -> bool:
        return not self._name_problem(name) and not self.manifest.is_done(name, origin)

    def _name_problem(self, name: str) -> str:
        """Describe the problem if the file name of an output is too long for the file system; otherwise return ''."""
        files = (self.manifest.path(name, output).name for output in self.manifest.outputs)
        longest = max(files, key=len, default="")
        if len(os.fsencode(longest)) <= MAX_NAME_BYTES:
            return ""
        return f"{longest} has more than {MAX_NAME_BYTES} bytes, too long for a file name; rename the image"

    def _skip(self, frame: Frame) -> None:
        """Note an image that can't be predicted or is done; if it is done, compare the mask from its file."""
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
        """Write the missing outputs of an image; runs in a writer thread."""
        frame = prediction.frame
        for output in self.manifest.missing(frame.name, frame.origin):
            OUTPUTS[output].write(self.manifest.path(frame.name, output), prediction, self.style)
        return prediction

    def _note(self, prediction: ImagePrediction) -> None:
        """Record that the outputs of an image are written, and compare its labels with the truth."""
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
        """Write and print the class fractions of the images that are done."""
        pixels = {name: self.manifest.pixels(name) for name in sorted(self.summary.names)}
        if not pixels:
            return
        if self.options.class_fractions:
            write_class_fractions(self.manifest.out / CLASS_FRACTIONS, pixels, self.style.classes)
        console.print(describe_class_fractions(pixels, self.style.classes), markup=False)
