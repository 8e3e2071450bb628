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


def return_freed_memory() -> None:
    """Return the memory of freed tensors to the operating system, wherever in the heap it lies.

    Tensors of other sizes may not fit the gaps between those that are still needed, so the heap grows although enough
    of it is free. On systems without glibc, the function does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)
