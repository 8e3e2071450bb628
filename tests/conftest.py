"""The options of the tests, and their order."""

import importlib
import os

import hypothesis
import pytest

os.environ["HYPERCOLUMNS_CACHE"] = ""  # a derivation that breaks must not be covered by the files of an earlier one

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("patient")

if "PYTEST_XDIST_WORKER" in os.environ:  # several workers share the machine, so each gets one thread
    os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that tests start


def pytest_configure(config):
    """Load the fixtures where tests run: the process that only starts the workers need not import torch first."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        importlib.import_module("hypercolumns")  # before torchvision, which then leaves out torch's compiler
        config.pluginmanager.import_plugin("helpers.fixtures")


@pytest.hookimpl(trylast=True)  # runs after the deselected tests are removed
def pytest_collection_modifyitems(items):
    """Put the longest tests at the start of each half of the list, by their marks `slow(seconds=75)`.

    Each of two workers starts with one half; short tests then fill up the end evenly.
    """

    def seconds(item):
        mark = item.get_closest_marker("slow")
        return mark.kwargs.get("seconds", 0) if mark else 0

    long = sorted(filter(seconds, items), key=seconds, reverse=True)
    short = [item for item in items if not seconds(item)]
    half = len(short) // 2
    items[:] = [*long[::2], *short[:half], *long[1::2], *short[half:]]
