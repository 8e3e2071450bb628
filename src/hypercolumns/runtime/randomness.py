"""Randomness as a function of what it is for, so that order, workers and interruptions don't change it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *purpose: int | str) -> int:
    """A seed in [0, 2^63) that depends on `seed` and on every part of `purpose`, and on nothing else."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator seeded by `derive_seed(seed, *purpose)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: int | str) -> Iterator[None]:
    """Inside, torch's generators are seeded by `derive_seed(seed, *purpose)`; afterwards the CPU's is as it was."""
    # Of a GPU that is not in use, torch.manual_seed would only note who asked: longer than many a training step.
    in_use = torch.cuda.is_initialized() or torch.backends.mps.is_available()
    seed_generators = torch.manual_seed if in_use else torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=[]):
        seed_generators(derive_seed(seed, *purpose))
        yield
