"""The files for annotation tools that hold all images of a prediction: which to write, their checks and the writing.

They are made from the predicted masks after all images are predicted. Thus they list also the images that an earlier,
interrupted command predicted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme, Palette
from hypercolumns.prediction.annotations import coco, cvat, label_studio
from hypercolumns.prediction.annotations.labelled_image import LabelledImage
from hypercolumns.prediction.sources import Source
from hypercolumns.runtime.progress import ProgressBar

FILES = {"cvat": (cvat.LABEL_MAP, cvat.IMAGE_LIST), "coco": (coco.FILE,), "label_studio": (label_studio.FILE,)}
TOOLS = (*FILES, "labelme")


@dataclass(frozen=True)
class AnnotationFiles:
    """The files for annotation tools that a prediction writes, apart from the files for each image.

    Attributes:
        tools: the selected names of `TOOLS`.
        coco_images: the COCO file from which the ids of images and categories come. None: new ids.
        tags: what the tasks of Label Studio take from the labelling configuration.
    """

    tools: frozenset[str] = frozenset()
    coco_images: Path | None = None
    tags: label_studio.LabelStudioTags = field(default_factory=label_studio.LabelStudioTags)

    def paths(self, out: Path) -> list[Path]:
        """Return the paths of the selected files in the output folder `out`."""
        return [out / file for tool, files in FILES.items() if tool in self.tools for file in files]

    def check(self, sources: Sequence[Source], classes: Sequence[str], palette: Palette) -> None:
        """Check that the selected tools can name the images and classes.

        Args:
            sources: the inputs to predict.
            classes: the names of the classes.
            palette: the colour of each class, by class index.

        Raises:
            HypercolumnsError: if an input is a video or a stream, if `coco_images` lacks an image or a class, or for
                one of the reasons in `check_cvat`.
        """
        if not self.tools:
            return
        videos = [source.path for source in sources if source.video]
        if videos:
            selected = " ".join(f"outputs.{tool}=true" for tool in TOOLS if tool in self.tools)
            raise HypercolumnsError(
                f"{selected} needs image files, which the annotation tool shows, but {videos[0]} is a video or a "
                f"stream; save its frames as image files, for example with ffmpeg -i FILE frames/%06d.png, and predict "
                f"these"
            )
        if "cvat" in self.tools:
            cvat.check_cvat(classes, palette, sources)
        if "coco" in self.tools:
            self._coco_ids(sources, classes)

    def write(
        self, out: Path, sources: Sequence[Source], done: Sequence[str], classes: Sequence[str], palette: Palette
    ) -> None:
        """Write the selected files. Of the images, only one at a time is in memory.

        Args:
            out: the output folder, with a mask `<name>.png` for each image in `done`.
            sources: the inputs of the prediction; `check` has accepted them.
            done: the names of the images that are predicted, see `Frame.name`.
            classes: the names of the classes.
            palette: the colour of each class, by class index.

        Raises:
            HypercolumnsError: if a mask can't be read, a file can't be written, or an image has another size than its
                entry in `coco_images`.
        """
        names = set(done)
        chosen = sorted((source for source in sources if source.name in names), key=lambda source: source.name)

        def images(file: str) -> Iterator[LabelledImage]:
            with ProgressBar(f"write {file}", len(chosen), summary=False) as bar:
                for source in chosen:
                    mask = read_mask(out / f"{source.name}.png", LabelScheme.of(classes, palette))
                    yield LabelledImage(source.file, mask.numpy())
                    bar.advance()

        if "coco" in self.tools:
            coco.write_coco(out / coco.FILE, images(coco.FILE), self._coco_ids(sources, classes))
        if "label_studio" in self.tools:
            file = label_studio.FILE
            label_studio.write_label_studio(out / file, images(file), classes, self.tags)
        if "cvat" in self.tools:
            cvat.write_label_map(out / cvat.LABEL_MAP, classes, palette)
            cvat.write_image_list(out / cvat.IMAGE_LIST, [source.name for source in chosen])

    def _coco_ids(self, sources: Sequence[Source], classes: Sequence[str]) -> coco.CocoIds:
        files = [source.file for source in sources]
        if self.coco_images is None:
            return coco.new_coco_ids(files, classes)
        return coco.read_coco_ids(self.coco_images, files, classes)
