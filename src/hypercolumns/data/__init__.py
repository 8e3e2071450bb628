"""Images with masks, and sampled hypercolumns, as Lightning data modules."""

from hypercolumns.data.checks import FileCheck, FileProblem, check_headers, check_pairs
from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.datasets.shapes import shapes
from hypercolumns.data.datasets.voc import DatasetNotFoundError, voc
from hypercolumns.data.index import DatasetIndex, ImageMaskPair
from hypercolumns.data.modules.image_data import Batch, Example, ImageDataModule
from hypercolumns.data.modules.resumable import ResumableDataModule, TrainingPosition
from hypercolumns.data.modules.sample_data import SampleDataModule
from hypercolumns.data.predictions import PredictionDataset, mask_pairs
from hypercolumns.data.subsets import UnknownGroupError, hold_out, shared_ids, take_train_subset
from hypercolumns.data.transforms import Augmentation

__all__ = [
    "Augmentation",
    "Batch",
    "DatasetIndex",
    "DatasetNotFoundError",
    "Example",
    "FileCheck",
    "FileProblem",
    "ImageDataModule",
    "ImageMaskPair",
    "PredictionDataset",
    "ResumableDataModule",
    "SampleDataModule",
    "TrainingPosition",
    "UnknownGroupError",
    "check_headers",
    "check_pairs",
    "folder",
    "hold_out",
    "mask_pairs",
    "shapes",
    "shared_ids",
    "take_train_subset",
    "voc",
]
