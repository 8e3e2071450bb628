"""Tables of the samples in a store."""

from collections.abc import Sequence

from rich import filesize
from rich.table import Table
from rich.text import Text

from hypercolumns.runtime.progress import console
from hypercolumns.store import SampleStore


def print_store(store: SampleStore, classes: Sequence[str]) -> None:
    """Print the folder of a store, and for each split the number of samples per class and the size of the files.

    Also print which classes have no samples.
    """
    splits = {name: store.split(name) for name in store.index_entries}
    table = Table(title=f"samples per class in {' and '.join(splits)}", title_justify="left")
    table.add_column("class")
    for name in splits:
        table.add_column(name, justify="right")
    counts = [split.samples_per_class(len(classes)).tolist() for split in splits.values()]
    for name, *class_counts in zip(classes, *counts, strict=True):
        table.add_row(Text(name), *(f"{count:,}" for count in class_counts))
    table.add_section()
    table.add_row("all", *(f"{len(split):,}" for split in splits.values()))
    table.add_row("size", *(filesize.decimal(split.bytes) for split in splits.values()))
    console.print(table)
    channels = splits["train"].channels
    console.print(f"{'samples':>9}  {store.folder} ({channels} channels, float16)", markup=False)
    print_absent_classes(store, classes)


def print_absent_classes(store: SampleStore, classes: Sequence[str]) -> None:
    """Print which classes have no train samples or no val samples, and the consequence for the model or its metrics."""
    consequences = (("train", "the model can't learn them"), ("val", "their metrics on the val samples are n/a"))
    for split, consequence in consequences:
        counts = store.split(split).samples_per_class(len(classes)).tolist()
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        if absent:
            console.print(f"no samples of {', '.join(absent)} in {split}: {consequence}", markup=False)
