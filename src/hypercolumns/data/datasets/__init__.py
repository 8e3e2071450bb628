"""Functions that make the index of a data set. There is one function for each layout of the files on disk."""

from hypercolumns.data.datasets.auto import auto
from hypercolumns.data.datasets.coco import coco
from hypercolumns.data.datasets.folder import folder, folder_to_label
from hypercolumns.data.datasets.label_studio import label_studio
from hypercolumns.data.datasets.labelme import labelme
from hypercolumns.data.datasets.sbd import sbd
from hypercolumns.data.datasets.shapes import shapes
from hypercolumns.data.datasets.voc import voc

__all__ = ["auto", "coco", "folder", "folder_to_label", "label_studio", "labelme", "sbd", "shapes", "voc"]
