"""Tables of what a store of samples holds."""

from collections.abc import Sequence

from rich import filesize
from rich.table import Table
from rich.text import Text

from hypercolumns.runtime.progress import console
from hypercolumns.store import SampleStore


def print_store(store: SampleStore, classes: Sequence[str]) -> None:
    """Print how many samples of each class a store holds, its size, and where it is."""
    splits = {name: store.split(name) for name in store.index_entries}
    table = Table(title=f"samples of {' and '.join(splits)}", title_justify="left")
    table.add_column("class")
    for name in splits:
        table.add_column(name, justify="right")
    counts = [split.samples_per_class(len(classes)).tolist() for split in splits.values()]
    for name, *of_class in zip(classes, *counts, strict=True):
        table.add_row(Text(name), *(f"{count:,}" for count in of_class))
    table.add_section()
    table.add_row("all", *(f"{len(split):,}" for split in splits.values()))
    table.add_row("size", *(filesize.decimal(split.bytes) for split in splits.values()))
    console.print(table)
    channels = splits["train"].channels
    console.print(f"{'samples':>9}  {store.folder} ({channels} channels, float16)", markup=False)
    print_absent_classes(store, classes)


def print_absent_classes(store: SampleStore, classes: Sequence[str]) -> None:
    """Print which classes a store has no samples of, if there are such, and what comes of it."""
    for split, what in (("train", "not learnt"), ("val", "n/a in figures of the samples")):
        counts = store.split(split).samples_per_class(len(classes)).tolist()
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        if absent:
            console.print(f"no samples of {', '.join(absent)} in {split}: {what}", markup=False)
