import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from hypercolumns.runtime.memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        tensors = [torch.empty(1 << 22).zero_() for _ in range(6)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned, kept = page_faults(), keep_freed_memory()
page_faults()
reused = page_faults()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


tensors = [torch.empty(1 << 22).zero_() for _ in range(24)]
before = resident()
del tensors
print(returned, kept, reused, before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_kept_memory_needs_no_new_pages():
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    returned, kept, reused, freed = output.split()
    assert kept == "True"
    assert int(reused) < int(returned) / 4  # huge pages make few faults
    assert int(freed) > 200 << 20  # of 384 MiB, 128 MiB are kept
