"""Images with masks, and sampled hypercolumns, as Lightning data modules."""

from hypercolumns.data.checks import Examination, Fault, check_headers, examine
from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.datasets.shapes import shapes
from hypercolumns.data.datasets.voc import voc
from hypercolumns.data.image_set import ImageSet, Pair, limited, shared_ids
from hypercolumns.data.modules.images import Batch, Example, ImageData
from hypercolumns.data.modules.resumable import Position, ResumableData
from hypercolumns.data.modules.samples import SampleData
from hypercolumns.data.predictions import PredictionDataset, mask_pairs
from hypercolumns.data.subsets import fold
from hypercolumns.data.transforms import Augmentation, check_colours

__all__ = [
    "Augmentation",
    "Batch",
    "Examination",
    "Example",
    "Fault",
    "ImageData",
    "ImageSet",
    "Pair",
    "Position",
    "PredictionDataset",
    "ResumableData",
    "SampleData",
    "check_colours",
    "check_headers",
    "examine",
    "fold",
    "folder",
    "limited",
    "mask_pairs",
    "shapes",
    "shared_ids",
    "voc",
]
