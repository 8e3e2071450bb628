"""Predict many images: skip the images that are done, predict the others, and write and record their outputs."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme
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

MAX_NAME_BYTES = 255  # the maximum length of a file name in common file systems


@dataclass
class RunSummary:
    """The result of a prediction run.

    Attributes:
        names: the names (`Frame.name`) of all images that have outputs: the images that this run predicted, and the
            images that it skipped because an earlier run predicted them.
        done_before: the number of skipped images in `names`.
        problems: one line for each image that could not be read, predicted or scored.
        notes: lines for the user that are no problems, such as the number of frames of a video.
    """

    names: list[str] = field(default_factory=list)
    done_before: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class PredictionRun:
    """Predict images, and write their outputs to the folder of a manifest.

    An image is skipped if its outputs exist and are valid, see `PredictionManifest.is_done`.

    Args:
        segmenter: the model, in evaluation mode, on the device that predicts. Images are read by its `decoding`.
        options: the options of the run. `options.output_settings()` must equal `manifest.outputs`.
        manifest: the record of the output folder. Call `manifest.start()` first. Call `run` inside the `with` block
            of the manifest.
        ground_truth: the true masks, which are compared with the predicted labels. The output `mask` is then required,
            because the labels of skipped images are read from it. None: no comparison.

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
        """Predict the images of the sources, except the images that are done already.

        If an image can't be read or scored, the summary lists the problem, and the run goes on with the next image. At
        the end, the class fractions of all images in the summary are reported, even if the run is interrupted.

        Raises:
            HypercolumnsError: if an output can't be written, or if `PredictionManifest.check` refuses to replace a
                file.
        """
        try:
            self._predict(sources)
            for note in self.summary.notes:
                console.print(note, markup=False)
            if self.summary.done_before:
                skipped = f"skipped {self.summary.done_before} images that are predicted already"
                console.print(f"{skipped} (overwrite=true predicts them again)", markup=False)
        finally:
            self._report_class_fractions()
        return self.summary

    def _predict(self, sources: Sequence[Source]) -> None:
        workers = self.options.num_workers
        total = None if any(source.video for source in sources) else len(sources)
        stride, decoding = self.options.frame_stride, self.segmenter.decoding
        frames = read_frames(sources, self._must_read, stride, workers, decoding, self.summary.notes.append)
        with ProgressBar("predict", total) as bar, OrderedPool(self._write, workers) as writers:
            for batch in batch_frames(frames, self.options.batch_size):
                if batch[0].image is None:
                    self._skip(batch[0])
                    bar.advance()
                    continue
                self._begin(batch)
                for prediction in predict_batch(self.segmenter, batch, self.options, self.manifest.out):
                    for written in writers.submit(prediction):
                        self._note(written)
                        bar.advance()
            for written in writers.drain():
                self._note(written)
                bar.advance()

    def _must_read(self, name: str, origin: Origin | None) -> bool:
        return not self._name_problem(name) and not self.manifest.is_done(name, origin)

    def _name_problem(self, name: str) -> str:
        """Return a message if an output's file name is longer than `MAX_NAME_BYTES`; otherwise, return ''."""
        files = (self.manifest.path(name, output).name for output in self.manifest.outputs)
        longest = max(files, key=len, default="")
        if len(os.fsencode(longest)) <= MAX_NAME_BYTES:
            return ""
        return (
            f"the output file {longest} has a name of more than {MAX_NAME_BYTES} bytes; give the image a shorter name"
        )

    def _skip(self, frame: Frame) -> None:
        """Add an image that this run does not predict to the summary: either its problem or its name.

        The name is added if an earlier run predicted the image. If there are true masks, the predicted mask is then
        read from its file and compared with the true mask.
        """
        problem = frame.problem or self._name_problem(frame.name)
        if problem:
            self.summary.problems.append(problem)
            return
        self.summary.done_before += 1
        self.summary.names.append(frame.name)
        if self.ground_truth is not None:
            mask = self.manifest.path(frame.name, "mask")
            self._compare(frame.name, read_mask(mask, LabelScheme.of(self.style.classes, self.style.palette)))

    def _begin(self, batch: Iterable[Frame]) -> None:
        for frame in batch:
            self.manifest.check(frame.name, frame.origin)
            self.manifest.begin(frame.name, frame.origin)

    def _write(self, prediction: ImagePrediction) -> ImagePrediction:
        """Write the missing outputs of an image, see `PredictionManifest.missing`. Return the prediction unchanged.

        A writer thread calls this method, or the main thread if `num_workers` is 0.
        """
        frame = prediction.frame
        for output in self.manifest.missing(frame.name, frame.origin):
            OUTPUTS[output].write(self.manifest.path(frame.name, output), prediction, self.style)
        return prediction

    def _note(self, prediction: ImagePrediction) -> None:
        """Record that the outputs of an image are written, and compare its predicted labels with its true mask."""
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
        """Print one line with the class fractions of all images that `self.summary` names.

        If the options request the CSV file of class fractions, write it too.
        """
        pixels = {name: self.manifest.pixels(name) for name in sorted(self.summary.names)}
        if not pixels:
            return
        if self.options.class_fractions:
            write_class_fractions(self.manifest.out / CLASS_FRACTIONS, pixels, self.style.classes)
        console.print(describe_class_fractions(pixels, self.style.classes), markup=False)
