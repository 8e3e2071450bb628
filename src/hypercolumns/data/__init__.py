"""Images with masks, and sampled hypercolumns, as Lightning data modules."""

from hypercolumns.data.examination import Examination, Fault, check_headers, examine
from hypercolumns.data.folder import folder
from hypercolumns.data.folds import fold
from hypercolumns.data.image_set import ImageSet, Pair, limited, shared_ids
from hypercolumns.data.images import Batch, Example, ImageData
from hypercolumns.data.predictions import PredictionDataset, mask_pairs
from hypercolumns.data.resumable import Position, ResumableData
from hypercolumns.data.samples import SampleData
from hypercolumns.data.shapes import shapes
from hypercolumns.data.transforms import Augmentation, check_colours
from hypercolumns.data.voc import voc

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
