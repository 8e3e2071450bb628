"""How much memory is left, by the files of Linux."""

from pathlib import Path

import pytest
import torch

from hypercolumns.runtime.free_memory import free_bytes

CPU = torch.device("cpu")


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files in the form of those in /proc and /sys; 8 MB are available to the whole system."""
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:   8000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_groups_it_is_that_of_the_system(tmp_path):
    assert free_bytes(CPU, write(tmp_path, {})) == 8000 * 1024


@pytest.mark.parametrize("folder", ["a", "a/b"])
def test_limit_of_a_group_or_its_parent_counts(tmp_path, folder):
    """The parent may take 5 MB and has 3 MB in use; 1 MB can be freed."""
    files = {
        "proc/self/cgroup": f"0::/{folder}\n",
        "sys/fs/cgroup/a/memory.max": "5000000\n",
        "sys/fs/cgroup/a/memory.current": "3000000\n",
        "sys/fs/cgroup/a/memory.stat": "anon 2000000\ninactive_file 1000000\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/b/memory.current": "2000000\n",
    }
    assert free_bytes(CPU, write(tmp_path, files)) == 3_000_000


def test_groups_of_version_1_count(tmp_path):
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/other\n4:memory:/docker/unseen\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "6000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 500000\n",
    }
    assert free_bytes(CPU, write(tmp_path, files)) == 5_000_000


def test_unknown_without_the_files(tmp_path):
    assert free_bytes(CPU, tmp_path) is None
    assert free_bytes(torch.device("meta"), write(tmp_path, {})) is None
