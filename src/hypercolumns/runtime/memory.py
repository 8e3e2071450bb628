"""Settings of the C library's memory allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's parameters, from malloc.h
MAX_TENSOR_BYTES = 32 << 20  # the most that older versions of glibc allow
MAX_KEPT_BYTES = 128 << 20


def keep_freed_memory() -> bool:
    """Make this process keep freed memory for its next tensors, and return whether this succeeded.

    By default, glibc soon returns the memory of freed tensors to the operating system. The next image or training step
    then waits until the system has cleared the same pages again. This takes a tenth of the time of a training step.

    With this setting, tensors of up to 32 MiB come from the heap. The heap shrinks only if more than 128 MiB at its end
    are free; an object that lies behind free memory prevents this. Results do not change. Child processes that are
    forked later inherit the setting. On systems without glibc, the function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack this function
    wanted = {M_MMAP_THRESHOLD: MAX_TENSOR_BYTES, M_TRIM_THRESHOLD: MAX_KEPT_BYTES}
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in wanted.items())


class _HeapStatistics(ctypes.Structure):
    """The result of `mallinfo2`, from malloc.h, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def return_freed_memory(kept: int = 0) -> None:
    """Return the memory of freed tensors to the operating system, wherever in the heap it lies.

    Tensors of other sizes may not fit the gaps between those that are still needed, so the heap grows although enough
    of it is free. The next tensors wait until the system has cleared pages for them. On systems without glibc, the
    function does nothing.

    Args:
        kept: nothing is returned if at most this number of bytes is free.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    trim, statistics = getattr(library, "malloc_trim", None), getattr(library, "mallinfo2", None)
    if trim is None:
        return
    if statistics is not None:  # glibc has it since version 2.33
        statistics.restype = _HeapStatistics
        if statistics().fordblks <= kept:
            return
    trim(0)
