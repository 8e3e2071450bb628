"""The CSV logger that continues a table."""

import csv

from hypercolumns.loggers import ResumableCSVLogger


def log(folder, metrics, step):
    logger = ResumableCSVLogger(folder, name="csv", version="")
    logger.log_metrics(metrics, step)
    logger.finalize("success")


def rows(folder):
    with (folder / "csv/metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_second_logger_adds_rows_and_columns(tmp_path):
    log(tmp_path, {"a": 1.5}, 3)
    log(tmp_path, {"a": 2.5, "b": 7.0}, 4)
    log(tmp_path, {"b": 8.0}, 5)
    assert rows(tmp_path) == [
        {"a": "1.5", "b": "", "step": "3"},
        {"a": "2.5", "b": "7.0", "step": "4"},
        {"a": "", "b": "8.0", "step": "5"},
    ]


def test_row_that_a_kill_cut_off_is_removed(tmp_path):
    log(tmp_path, {"a": 1.5}, 3)
    with (tmp_path / "csv/metrics.csv").open("a") as file:
        file.write("2.")
    log(tmp_path, {"a": 3.5}, 5)
    assert rows(tmp_path) == [{"a": "1.5", "step": "3"}, {"a": "3.5", "step": "5"}]


def test_empty_table_is_written_anew(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/metrics.csv").touch()
    log(tmp_path, {"a": 1.5}, 3)
    assert rows(tmp_path) == [{"a": "1.5", "step": "3"}]
