"""Panels of image, truth, prediction and errors: sizes, positions and colours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hypercolumns.labels import VOID_COLOUR, voc_palette
from hypercolumns.visualization import panels as panels_module
from hypercolumns.visualization.panels import (
    GAP,
    LINE,
    PANEL_SIDE,
    WRONG,
    LabelledImage,
    evenly_spaced,
    panels,
)

CLASSES, PALETTE = ("ground", "cat", "dog"), voc_palette(3)


def labelled(height=2, width=4, image=True):
    truth = torch.zeros(height, width, dtype=torch.uint8)
    truth[0, 0], truth[0, 1] = 255, 1
    predicted = torch.zeros(height, width, dtype=torch.uint8)
    predicted[0, 2] = 2
    pixels = torch.full((3, height, width), 100, dtype=torch.uint8)
    return LabelledImage(pixels if image else None, truth, predicted, "a caption")


def pictures(canvas, count=4, width=PANEL_SIDE, height=PANEL_SIDE // 2):
    array = np.asarray(canvas)
    starts = [GAP + number * (width + GAP) for number in range(count)]
    return [array[2 * LINE : 2 * LINE + height, start : start + width] for start in starts]


def colours(picture):
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}


def test_small_images_are_magnified_by_integers():
    image, truth, prediction, errors = pictures(panels([labelled()], CLASSES, PALETTE))
    assert colours(image) == {(100, 100, 100)}
    block = PANEL_SIDE // 4
    assert colours(truth[:block, :block]) == {VOID_COLOUR}
    assert colours(truth[:block, block : 2 * block]) == {(116, 39, 39)}  # 0.6 * (128, 0, 0) + 0.4 * 100, truncated
    assert colours(prediction[:block, 2 * block : 3 * block]) == {(39, 116, 39)}
    assert colours(errors[:block, :block]) == {VOID_COLOUR}
    assert colours(errors[:block, block : 3 * block]) == {WRONG}
    assert colours(errors[block:]) == {(200, 200, 200)}


@pytest.mark.parametrize(("channels", "shown"), [(2, (0, 50, 50)), (3, (0, 50, 100)), (5, (0, 50, 100))])
def test_first_three_channels_are_shown(channels, shown):
    pixels = torch.stack([torch.full((2, 4), 50 * number, dtype=torch.uint8) for number in range(channels)])
    row = replace(labelled(), image=pixels)
    assert colours(pictures(panels([row], CLASSES, PALETTE))[0]) == {shown}


def test_large_images_are_shrunk():
    canvas = panels([labelled(1000, 2000)], CLASSES, PALETTE)
    assert canvas.width == 4 * (PANEL_SIDE + GAP) + GAP


def test_two_columns_put_errors_below():
    canvas = panels([labelled(4, 8)], CLASSES, PALETTE, columns=2, side=80)
    array = np.asarray(canvas)
    below = 2 * LINE + 40 + GAP + LINE  # the caption, a title and a picture, a gap and a title
    assert colours(array[2 * LINE : 2 * LINE + 40, GAP : GAP + 80]) == {(100, 100, 100)}
    errors = array[below : below + 40, 2 * GAP + 80 : 2 * GAP + 160]
    assert {WRONG, VOID_COLOUR, (200, 200, 200)} == colours(errors)


def test_missing_image_leaves_three_pictures():
    canvas = panels([labelled(image=False)], CLASSES, PALETTE)
    assert canvas.width == 3 * (PANEL_SIDE + GAP) + GAP
    truth, _, errors = pictures(canvas, 3)
    assert colours(errors[PANEL_SIDE // 4 :]) == {(255, 255, 255)}
    assert VOID_COLOUR in colours(truth)


def test_legend_shows_only_colours_that_occur():
    rows = [labelled(), labelled(3, 3)]
    canvas = panels(rows, CLASSES, PALETTE)
    legend = np.asarray(canvas)[-LINE - GAP :]
    for colour in (*PALETTE, VOID_COLOUR, WRONG):
        assert colour in colours(legend)
    background = LabelledImage(None, torch.zeros(2, 2).byte(), torch.zeros(2, 2).byte(), "")
    legend = np.asarray(panels([background], CLASSES, PALETTE))[-LINE - GAP :]
    assert PALETTE[1] not in colours(legend)


def test_long_legend_is_wrapped():
    names = [f"a class with a long name, number {number}" for number in range(60)]
    truth = torch.arange(60, dtype=torch.uint8)[None]
    single, many = (
        panels([LabelledImage(None, part, part, "")], names, voc_palette(60)) for part in (truth * 0, truth)
    )
    assert many.height > single.height
    legend = np.asarray(many)[-60 * LINE :]
    assert set(voc_palette(60)) <= colours(legend)


def test_line_break_in_caption_is_escaped():
    plain, broken = (panels([replace(labelled(), caption=text)], CLASSES, PALETTE) for text in (r"a\n[b]", "a\n[b]"))
    assert (np.asarray(plain) == np.asarray(broken)).all()


@pytest.mark.parametrize(
    ("count", "chosen", "numbers"),
    [(10, 4, [0, 3, 6, 9]), (10, 1, [0]), (3, 8, [0, 1, 2]), (10, 0, []), (0, 4, [])],
)
def test_evenly_spaced_includes_both_ends(count, chosen, numbers):
    assert evenly_spaced(count, chosen) == numbers


@pytest.mark.parametrize("size", [(1, 90), (30, 50), (3, 3)])
def test_shrunk_image_is_drawn_alike(monkeypatch, size):
    monkeypatch.setattr(panels_module, "MAX_HELD", 0)
    whole = LabelledImage(
        torch.randint(256, (3, *size), dtype=torch.uint8), torch.randint(2, size), torch.randint(2, size), "a"
    )
    small = panels_module.shrink(whole, 20)
    assert max(small.truth.shape) <= 20
    drawn = [np.asarray(panels([each], CLASSES, PALETTE, side=20)) for each in (whole, small)]
    assert np.array_equal(drawn[0][: -2 * LINE], drawn[1][: -2 * LINE])  # the legend may lack classes that vanish
