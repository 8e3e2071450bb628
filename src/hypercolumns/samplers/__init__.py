"""Which pixels of a mask become samples."""

from hypercolumns.samplers.per_class import PerClass
from hypercolumns.samplers.sampler import Sampler
from hypercolumns.samplers.uniform import Uniform

__all__ = ["PerClass", "Sampler", "Uniform"]
