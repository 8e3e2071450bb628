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
print(returned, kept, page_faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_kept_memory_needs_no_new_pages():
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    returned, kept, reused = output.split()
    assert kept == "True"
    assert int(reused) < int(returned) / 4  # huge pages make few faults
