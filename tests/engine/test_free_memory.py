"""Free memory, from a file system that is made up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from fewtune.engine.free_memory import free_bytes, left_on_linux, own_bytes

GIB = 2**30


def machine(root: Path, groups: str, **files: str) -> Path:
    """A machine with 8 GiB free whose process is in the given control groups."""
    contents = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB\n", "proc/self/cgroup": groups}
    for name, content in {**contents, **{f"sys/fs/cgroup/{path}": text for path, text in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return root


def test_without_groups_the_kernel_alone_is_asked(tmp_path: Path) -> None:
    assert left_on_linux(machine(tmp_path, "")) == 8 * GIB


def test_a_container_is_smaller_than_its_machine(tmp_path: Path) -> None:
    files = {"memory.max": f"{4 * GIB}\n", "memory.current": f"{3 * GIB}\n", "memory.stat": f"inactive_file {GIB}\n"}
    assert left_on_linux(machine(tmp_path, "0::/\n", **files)) == 2 * GIB


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    outer = {"a/memory.max": f"{3 * GIB}", "a/memory.current": f"{2 * GIB}", "a/memory.stat": "anon 0\n"}
    inner = {"a/b/memory.max": "max", "a/b/memory.current": "7", "a/b/memory.stat": ""}
    assert left_on_linux(machine(tmp_path, "0::/a/b\n", **outer, **inner)) == GIB


def test_the_first_version_of_groups_is_read_too(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{5 * GIB}",
        "memory/memory.usage_in_bytes": f"{GIB}",
        "memory/memory.stat": "total_inactive_file 0\n",
        "memory/job/memory.limit_in_bytes": "9223372036854771712",
        "memory/job/memory.usage_in_bytes": f"{GIB}",
        "memory/job/memory.stat": "",
    }
    assert left_on_linux(machine(tmp_path, "3:cpu:/\n2:memory,pids:/job\n", **files)) == 4 * GIB


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"memory.max": "10", "memory.current": "20", "memory.stat": ""}
    assert left_on_linux(machine(tmp_path, "0::/\n", **files)) == 0


def test_where_nothing_can_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert left_on_linux(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="what is held is told by Linux")
def test_what_this_process_takes_is_seen() -> None:
    before = own_bytes()
    taken = torch.ones(2**26)
    assert own_bytes() - before == pytest.approx(taken.nbytes, rel=0.1)
    free = free_bytes("cpu")
    assert free is not None
    assert 0 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
