"""Derive a random seed for each purpose. One purpose is, for example, to choose the pixels of one image in one epoch.

Results therefore depend neither on the order of the work, nor on the number of workers, nor on interruptions.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *purpose: int | str) -> int:
    """Return a new seed in [0, 2^63): a hash of `seed` and of all parts of `purpose`.

    An example of `purpose` is ("pixels", epoch, id) with the id of an image.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(seed, *purpose)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: int | str) -> Iterator[None]:
    """Seed torch's global generators with `derive_seed(seed, *purpose)` for the `with` block.

    The state of the CPU generator is restored afterwards. GPU generators are seeded only if a GPU is in use, and their
    state is not restored.
    """
    # While no GPU is in use, torch.manual_seed records the call stack, in order to seed GPUs later. This takes longer
    # than many training steps.
    in_use = torch.cuda.is_initialized() or torch.backends.mps.is_available()
    seed_generators = torch.manual_seed if in_use else torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=[]):
        seed_generators(derive_seed(seed, *purpose))
        yield
