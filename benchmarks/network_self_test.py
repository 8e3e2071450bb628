"""Check that the judge of `networks.py` calls wrong backbones wrong, and a right one right."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from network_checks import run_checks
from network_reference import Reference, drawn_state
from torch import nn

from hypercolumns import Backbone
from hypercolumns.models.taps import RegularGrid

PLAIN, WITH_STATISTICS = "test_resnet", "test_efficientnet_gn"  # the second one has GroupNorm layers
STAGES, HYBRID = "test_convnext", "efficientformer_l1"  # no paths that are centred apart; much attention


def run() -> None:
    """Judge backbones with known faults, print what the judge finds, and raise an error if it misses a fault."""
    cases: list[tuple[str, str, Callable[[Backbone], None], list[str]]] = [
        ("unchanged", PLAIN, lambda backbone: None, []),
        ("no change in a hybrid", HYBRID, lambda backbone: None, []),
        ("cells of two taps moved", STAGES, partial(_move, (0, -1)), ["stages.0 are", "stages.3 are"]),
        ("cells moved in a hybrid", HYBRID, partial(_move, (-1,)), ["stages.3 are"]),
        ("GroupNorm declared local", WITH_STATISTICS, _declare_local, ["windows differ"]),
        ("a filter scaled by 1.001", PLAIN, _scale, ["differ from timm's"]),
        ("BatchNorm in training mode", PLAIN, _train, ["a batch differs"]),
    ]
    for title, name, tamper, expected in cases:
        state = drawn_state(name)
        backbone = Backbone(f"timm/{name}", None, weights=state).eval()
        tamper(backbone)
        record: dict[str, Any] = {}
        run_checks(backbone, Reference(name, state, [tap.name for tap in backbone.taps]), record.update)
        found = "; ".join(record["faults"])
        print(f"{title}: {found or 'right'}")
        assert all(fault in found for fault in expected), f"the judge does not find the fault: {title}"
        assert found == "" or expected, f"the judge finds a fault in a right backbone: {found}"


def _move(numbers: tuple[int, ...], backbone: Backbone) -> None:
    """Move the cells of some taps by a third of their stride."""
    taps = [*backbone.taps]
    for number in numbers:
        along_y, along_x = taps[number].axes
        assert isinstance(along_x, RegularGrid)
        taps[number] = replace(taps[number], axes=(along_y, _changed(along_x, offset=along_x.stride / 3)))
    backbone.taps = tuple(taps)


def _declare_local(backbone: Backbone) -> None:
    near = (100.0, 100.0)
    backbone.taps = tuple(
        replace(tap, axes=(_changed(tap.axes[0], extent=near), _changed(tap.axes[1], extent=near)))
        for tap in backbone.taps
    )


def _changed(grid: Any, offset: float = 0.0, extent: tuple[float, float] | None = None) -> RegularGrid:
    assert isinstance(grid, RegularGrid)
    return replace(grid, offset=grid.offset + offset, rf_extent=extent or grid.rf_extent)


def _scale(backbone: Backbone) -> None:
    layer = next(layer for layer in backbone.body.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        layer.weight[0].mul_(1.001)


def _train(backbone: Backbone) -> None:
    for layer in backbone.body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.training = True
