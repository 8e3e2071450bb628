"""Data sets of images with masks, and Lightning data modules for these images and for stores of samples.

The package imports a public name only when the name is first used. Lightning takes long to import. It is loaded only
if you use a name that needs Lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypercolumns.data.checks import FileCheck as FileCheck
    from hypercolumns.data.checks import FileProblem as FileProblem
    from hypercolumns.data.checks import check_headers as check_headers
    from hypercolumns.data.checks import check_pairs as check_pairs
    from hypercolumns.data.datasets.coco import coco as coco
    from hypercolumns.data.datasets.folder import folder as folder
    from hypercolumns.data.datasets.label_studio import label_studio as label_studio
    from hypercolumns.data.datasets.labelme import labelme as labelme
    from hypercolumns.data.datasets.sbd import sbd as sbd
    from hypercolumns.data.datasets.shapes import shapes as shapes
    from hypercolumns.data.datasets.voc import DatasetNotFoundError as DatasetNotFoundError
    from hypercolumns.data.datasets.voc import voc as voc
    from hypercolumns.data.index import DatasetIndex as DatasetIndex
    from hypercolumns.data.index import ImageMaskPair as ImageMaskPair
    from hypercolumns.data.modules.image_data import Batch as Batch
    from hypercolumns.data.modules.image_data import Example as Example
    from hypercolumns.data.modules.image_data import ImageDataModule as ImageDataModule
    from hypercolumns.data.modules.resumable import ResumableDataModule as ResumableDataModule
    from hypercolumns.data.modules.resumable import TrainingPosition as TrainingPosition
    from hypercolumns.data.modules.sample_data import SampleDataModule as SampleDataModule
    from hypercolumns.data.predictions import PredictionDataset as PredictionDataset
    from hypercolumns.data.predictions import mask_pairs as mask_pairs
    from hypercolumns.data.subsets import UnknownGroupError as UnknownGroupError
    from hypercolumns.data.subsets import hold_out as hold_out
    from hypercolumns.data.subsets import shared_ids as shared_ids
    from hypercolumns.data.subsets import take_train_subset as take_train_subset
    from hypercolumns.data.transforms import Augmentation as Augmentation

MODULES = {  # public name -> the module that defines it
    "Augmentation": "hypercolumns.data.transforms",
    "Batch": "hypercolumns.data.modules.image_data",
    "DatasetIndex": "hypercolumns.data.index",
    "DatasetNotFoundError": "hypercolumns.data.datasets.voc",
    "Example": "hypercolumns.data.modules.image_data",
    "FileCheck": "hypercolumns.data.checks",
    "FileProblem": "hypercolumns.data.checks",
    "ImageDataModule": "hypercolumns.data.modules.image_data",
    "ImageMaskPair": "hypercolumns.data.index",
    "PredictionDataset": "hypercolumns.data.predictions",
    "ResumableDataModule": "hypercolumns.data.modules.resumable",
    "SampleDataModule": "hypercolumns.data.modules.sample_data",
    "TrainingPosition": "hypercolumns.data.modules.resumable",
    "UnknownGroupError": "hypercolumns.data.subsets",
    "check_headers": "hypercolumns.data.checks",
    "check_pairs": "hypercolumns.data.checks",
    "coco": "hypercolumns.data.datasets.coco",
    "folder": "hypercolumns.data.datasets.folder",
    "hold_out": "hypercolumns.data.subsets",
    "label_studio": "hypercolumns.data.datasets.label_studio",
    "labelme": "hypercolumns.data.datasets.labelme",
    "mask_pairs": "hypercolumns.data.predictions",
    "sbd": "hypercolumns.data.datasets.sbd",
    "shapes": "hypercolumns.data.datasets.shapes",
    "shared_ids": "hypercolumns.data.subsets",
    "take_train_subset": "hypercolumns.data.subsets",
    "voc": "hypercolumns.data.datasets.voc",
}
__all__ = [*MODULES]


def __getattr__(name: str) -> Any:
    """Import the public name `name` of this package. Python calls this function when the name is first used."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the names of this package, including public names that are not imported yet."""
    return sorted({*globals(), *__all__})
