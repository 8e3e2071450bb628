"""Samplers, which choose the labelled pixels of a mask that become training samples."""

from hypercolumns.samplers.balanced import BalancedSampler
from hypercolumns.samplers.boundary import BoundarySampler
from hypercolumns.samplers.per_class import PerClassSampler
from hypercolumns.samplers.sampler import LogitsAt, Sampler
from hypercolumns.samplers.uncertainty import UncertaintySampler
from hypercolumns.samplers.uniform import UniformSampler

__all__ = [
    "BalancedSampler",
    "BoundarySampler",
    "LogitsAt",
    "PerClassSampler",
    "Sampler",
    "UncertaintySampler",
    "UniformSampler",
]
