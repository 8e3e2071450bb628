"""How much memory this process can still take."""

from collections.abc import Iterator
from pathlib import Path

import torch

CONTROL_GROUPS = (  # of version 2 and version 1: folder, limit, use, and the entry of memory.stat that can be freed
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Return how many bytes of memory this process can still take on a device.

    Args:
        device: a CUDA GPU or the CPU. On the CPU of a Linux system, this is the memory that the system has available,
            or less if a control group, as of a container or a job, has less left. Swap does not count.
        root: the folder with `proc` and `sys`.

    Returns:
        The number of bytes; None if it can't be found out.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for later tensors
        return torch.cuda.mem_get_info(device)[0] + kept
    available = _entries(root / "proc/meminfo").get("MemAvailable:") if device.type == "cpu" else None
    if available is None:
        return None
    return min([available * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield how many bytes are left in each control group with a limit that this process belongs to."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    groups = [line.split(":", 2) for line in lines]
    for folder, limit_file, use_file, cache in CONTROL_GROUPS:
        kind = "memory" if folder.endswith("memory") else ""
        path = next((group[2] for group in groups if len(group) == 3 and kind in group[1].split(",")), None)
        if path is None:
            continue
        group = root / folder / path.lstrip("/")
        # In a container, the path may be that of the host, and the group of the container is mounted at `folder`.
        for each in dict.fromkeys([group, *group.parents]):
            if each.is_relative_to(root / folder):
                limit, used = _number(each / limit_file), _number(each / use_file)
                if limit is not None and used is not None:
                    yield max(limit - used + _entries(each / "memory.stat").get(cache, 0), 0)


def _number(file: Path) -> int | None:
    """Return the number in a file; None if the file is missing or has no number, as where there is no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _entries(file: Path) -> dict[str, int]:
    """Return the numbers in a file with a name and a number in each line; {} if the file is missing."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
