"""Settings of the C library's memory allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's parameters, from malloc.h
MAX_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Make this process keep freed memory for its next tensors, and return whether this succeeded.

    By default, glibc returns the memory of large tensors to the operating system when they are freed. The next training
    step then waits until the system has cleared the same pages again. This takes a tenth of the time of a step.

    With this setting, tensors of up to 1 GiB come from the heap, and up to 1 GiB of free memory at its end is kept.
    Results do not change. Child processes that are forked later inherit the setting. On systems without glibc, the
    function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack this function
    return mallopt is not None and all(
        mallopt(parameter, MAX_KEPT_BYTES) == 1 for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)
    )
