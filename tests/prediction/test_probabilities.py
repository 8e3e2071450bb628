"""The probabilities of all classes, in memory and in a temporary file."""

import numpy as np
import pytest
import torch

from hypercolumns.prediction import probabilities
from hypercolumns.prediction.probabilities import ProbabilityMap, write_probabilities


@pytest.mark.parametrize("max_held", [1 << 26, 0])
def test_parts_give_the_file_of_numpy(tmp_path, monkeypatch, max_held):
    monkeypatch.setattr(probabilities, "MAX_HELD", max_held)
    monkeypatch.setattr(probabilities, "RELEASED", 1000)
    values = torch.rand(30, 41, 5, generator=torch.Generator().manual_seed(0)).half()
    stored = ProbabilityMap((5, 30, 41), tmp_path)
    for rows in (slice(0, 7), slice(7, 30)):
        for columns in (slice(20, 41), slice(0, 20)):
            stored.write(rows, columns, values[rows, columns])
    classes = ["sky", "tree", "road", "car", "person"]
    write_probabilities(tmp_path / "a.npz", stored, classes)
    np.savez_compressed(
        tmp_path / "b.npz", probabilities=np.ascontiguousarray(values.permute(2, 0, 1)), classes=np.array(classes)
    )
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.npz", "b.npz"]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
