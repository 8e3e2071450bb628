"""The tables and pictures of comparisons, rankings and runs."""

import pytest
import torch
from helpers.small_runs import config

from hypercolumns.evaluation import Evaluation
from hypercolumns.labels import voc_palette
from hypercolumns.reports import comparison_tables, ranking_tables
from hypercolumns.runs.results import Results
from hypercolumns.runs.score import ScoredImages
from hypercolumns.settings.hyperparameters import hyperparameters


def result(ends):
    metrics = {"miou": 0.5, "per_class_iou": {"cat of two": 0.4, "dog": None}}
    return {
        "images": 3,
        "baseline": metrics,
        "evaluation": metrics,
        "difference": metrics,
        "intervals": ends and {"level": 0.95, "miou": ends, "per_class_iou": {"cat of two": ends, "dog": None}},
    }


@pytest.mark.parametrize(("ends", "clear"), [([0.1, 0.2], True), ([-0.2, -0.1], True), ([-0.1, 0.2], False)])
def test_intervals_without_zero_are_bold(ends, clear):
    rows = comparison_tables.comparison_rows(result(ends))
    assert [row.name for row in rows] == ["mIoU", "IoU of cat of two", "IoU of dog"]
    assert [row.is_clear for row in rows] == [clear, clear, False]
    styles = [row.style for row in comparison_tables.comparison_table(result(ends)).rows]
    assert styles == ["bold" if clear else ""] * 2 + [""]


def test_comparison_without_intervals_is_narrower():
    assert len(comparison_tables.comparison_table(result(None)).columns) == 4


def test_ranking_table_shows_steps_and_all_taps():
    names = [["a.0"], ["b.1.x", "b.1.y"], ["c", "d"]]

    def row(miou, taps, step, kept=False):
        figures = {"channels": 9, "components": 5, "miou": miou, "accuracy": 0.5, "difference": miou - 0.9}
        return {"taps": [names[tap] for tap in taps], **figures, "step": step, "kept": kept, "is_all": step is None}

    rows = [row(0.9, (0, 1, 2), None), row(0.8, (0, 1), 2, kept=True), row(0.7, (1, 2), 2), row(0.6, (2,), 1)]
    table = ranking_tables.ranking_table(rows, "title")
    assert [str(cell) for cell in table.columns[0].cells] == ["all 3 taps", "a.0, b.1", "c"]
    assert [str(cell) for cell in table.columns[-1].cells] == ["+0.000", "-0.100", "-0.300"]
    assert [line.style for line in table.rows] == ["dim", "bold", ""]
    assert ranking_tables.chosen_subset(rows) is rows[1]
    assert ranking_tables.taps_value(names) == "[a.0,[b.1.x,b.1.y],[c,d]]"


def test_panels_show_spread_and_worst_images():
    wrong = [3, 9, 0, 5, 8, 1]  # wrong pixels of 10 in each image
    counts = torch.tensor([[[10 - count, count], [0, 0]] for count in wrong])
    counts[5] = 0  # an image without labels
    evaluation = Evaluation(("a", "b"), tuple("uvwxyz"), counts, counts, 3)
    shown = []

    def lookup(index):
        labels = torch.full((1, 1), index)
        return None, labels, labels

    draw = Results(None, None, {}, panels=lambda rows, *rest: shown.extend(rows))
    draw.draw_panels(ScoredImages(evaluation, lookup, voc_palette(2)))
    fixed, worst = ["u", "w", "x", "z"], ["worst 1: v", "worst 2: y", "worst 3: x", "worst 4: u"]
    assert shown[3].caption == "z   mIoU n/a"
    assert [row.caption.split("   ")[0] for row in shown] == fixed + worst
    assert [int(row.truth) for row in shown] == [0, 2, 3, 5, 1, 4, 3, 0]


def test_hyperparameters_are_words_and_numbers():
    values = hyperparameters(config("train", "stage=train", "experiment=demo", "cnn.trainable=0"), {"seed": 7})
    assert values["optimizer"] == "adamw lr=0.0003 weight_decay=0.01"
    assert (values["lr"], values["cnn"], values["stage"], values["seed"]) == (3e-4, "sqn", "train", 7)
    assert values["training.augment"] == "crop=96 flip=0.5 color_jitter=0.1"
    assert values["classifier"] == "mlp hidden=512"
    assert "class_weights" not in values
    assert all(isinstance(value, int | float | str) for value in values.values())
