"""Predict many images: read each, skip it or predict it, and write and record its outputs."""

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
        names: the names of the images that this run predicted, or skipped because an earlier run had predicted them.
        done_before: the number of images in `names` that this run skipped.
        problems: one line for each image that could not be read, predicted or scored.
    """

    names: list[str] = field(default_factory=list)
    done_before: int = 0
    problems: list[str] = field(default_factory=list)


class PredictionRun:
    """Predict images, and write their outputs to the folder of a manifest. Images that are already done are skipped.

    Args:
        segmenter: the model, in evaluation mode, on the device that predicts.
        options: the options; their `output_settings()` must be the `outputs` of the manifest.
        manifest: the record of the folder, within its `with` block and after `start`.
        ground_truth: the true masks to compare the predictions with; needs the output `mask`. None: compare nothing.

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

        An image that can't be read or scored becomes a problem in the summary, and the run goes on with the other
        images. The class fractions are reported even if the run is interrupted.

        Raises:
            HypercolumnsError: if an output can't be written, or `PredictionManifest.check` refuses to replace a file.
        """
        try:
            self._predict(sources)
            if self.summary.done_before:
                skipped = f"skipped {self.summary.done_before} images that are predicted already"
                console.print(f"{skipped} (overwrite=true predicts them again)", markup=False)
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
        """Return the problem if the file name of an output is too long for the file system; otherwise ''."""
        files = (self.manifest.path(name, output).name for output in self.manifest.outputs)
        longest = max(files, key=len, default="")
        if len(os.fsencode(longest)) <= MAX_NAME_BYTES:
            return ""
        return f"the output name {longest} has more than {MAX_NAME_BYTES} bytes; give the image a shorter name"

    def _skip(self, frame: Frame) -> None:
        """Record an image that is not predicted in this run: as a problem, or as done before.

        The mask of an image that is done is read from its file, and compared with the truth.
        """
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
        """Write the missing outputs of an image. This runs in a writer thread if there are any."""
        frame = prediction.frame
        for output in self.manifest.missing(frame.name, frame.origin):
            OUTPUTS[output].write(self.manifest.path(frame.name, output), prediction, self.style)
        return prediction

    def _note(self, prediction: ImagePrediction) -> None:
        """Record that the outputs of an image are written, and compare the labels with the truth."""
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
        """Print the class fractions of the images in the summary; write the table if the options ask for it."""
        pixels = {name: self.manifest.pixels(name) for name in sorted(self.summary.names)}
        if not pixels:
            return
        if self.options.class_fractions:
            write_class_fractions(self.manifest.out / CLASS_FRACTIONS, pixels, self.style.classes)
        console.print(describe_class_fractions(pixels, self.style.classes), markup=False)
