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
print(returned, kept, reused)
"""

LIMIT = """
import ctypes
import resource
from hypercolumns.runtime.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype, libc.free.argtypes = [ctypes.c_size_t], ctypes.c_void_p, [ctypes.c_void_p]
statm = open("/proc/self/statm", buffering=1)


def resident():
    statm.seek(0)
    return int(statm.read().split()[1]) * resource.getpagesize()


keep_freed_memory()
spare = libc.malloc(1 << 20)
blocks = [libc.malloc(16 << 20) for _ in range(24)]
for block in blocks:
    ctypes.memset(block, 1, 16 << 20)
libc.free(spare)  # a hole for small objects, which would otherwise lie at the end of the heap and keep it whole
before = resident()
for block in reversed(blocks):
    libc.free(block)
print(before - resident())
"""

SCATTERED = """
import ctypes
import resource
from hypercolumns.runtime.memory import keep_freed_memory, return_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype, libc.free.argtypes = [ctypes.c_size_t], ctypes.c_void_p, [ctypes.c_void_p]
statm = open("/proc/self/statm", buffering=1)


def resident():
    statm.seek(0)
    return int(statm.read().split()[1]) * resource.getpagesize()


keep_freed_memory()
blocks = [libc.malloc(4 << 20) for _ in range(64)]
for block in blocks:
    ctypes.memset(block, 1, 4 << 20)
before = resident()
for block in blocks[::2]:
    libc.free(block)
return_freed_memory(kept=256 << 20)
kept = before - resident()
return_freed_memory(kept=64 << 20)
print(kept, before - resident())
"""

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


@ON_LINUX
def test_kept_memory_needs_no_new_pages():
    returned, kept, reused = run(PROGRAM)
    assert kept == "True"
    assert int(reused) < int(returned) / 4  # huge pages make few faults


@ON_LINUX
def test_kept_memory_has_a_limit():
    (freed,) = run(LIMIT)
    assert int(freed) > 200 << 20  # 384 MiB exceed the limit


@ON_LINUX
def test_scattered_memory_is_returned():
    """Every other block of 4 MiB is freed: 128 MiB, and only the last block lies at the end of the heap."""
    kept, returned = map(int, run(SCATTERED))
    assert kept < 16 << 20
    assert returned > 100 << 20
