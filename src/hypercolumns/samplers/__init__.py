"""Which pixels of a mask become samples."""

from hypercolumns.samplers.balanced import Balanced
from hypercolumns.samplers.boundary import Boundary
from hypercolumns.samplers.per_class import PerClass
from hypercolumns.samplers.sampler import Logits, Sampler
from hypercolumns.samplers.uncertainty import Uncertainty
from hypercolumns.samplers.uniform import Uniform

__all__ = ["Balanced", "Boundary", "Logits", "PerClass", "Sampler", "Uncertainty", "Uniform"]
