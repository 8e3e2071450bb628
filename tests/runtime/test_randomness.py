import torch

from hypercolumns.runtime import randomness


def test_seed_depends_on_every_part_of_purpose():
    derived = [
        randomness.derive_seed(0),
        randomness.derive_seed(1),
        randomness.derive_seed(0, "a"),
        randomness.derive_seed(0, "a", 1),
        randomness.derive_seed(0, "a1"),
    ]
    derived += [
        randomness.derive_seed(0, 1),
        randomness.derive_seed(0, "1"),
        randomness.derive_seed(0, 1, 2),
        randomness.derive_seed(0, 2, 1),
    ]
    assert len(set(derived)) == len(derived)
    assert all(0 <= seed < 2**63 for seed in derived)


def test_derived_seed_golden_value():
    """Derived seeds must never change, because the contents of stores and runs depend on them."""
    assert randomness.derive_seed(7, "sample", "0001") == 4562773659498665319


def test_seeded_restores_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with randomness.seeded(1, "x"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with randomness.seeded(1, "x"):
        assert torch.equal(torch.rand(3), inside)
