"""Random seeds for single purposes. Results do not depend on the order of work, on workers or on interruptions."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *purpose: int | str) -> int:
    """Hash `seed` and the parts of `purpose`, such as ("pixels", epoch, id), to a seed in [0, 2^63)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(seed, *purpose)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: int | str) -> Iterator[None]:
    """Seed torch's generators with `derive_seed(seed, *purpose)`; restore the CPU generator after the `with` block."""
    # While no GPU is in use, torch.manual_seed records its caller for later, which takes longer than many steps.
    in_use = torch.cuda.is_initialized() or torch.backends.mps.is_available()
    seed_generators = torch.manual_seed if in_use else torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=[]):
        seed_generators(derive_seed(seed, *purpose))
        yield
