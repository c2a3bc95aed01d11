"""How much memory this process can still have."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

_UNLIMITED = 2**60
"""A limit above this is how the first version of cgroups writes that there is none."""


def free_bytes(device: str) -> int | None:
    """Of a GPU's own memory for `cuda`, else of the machine's, within the limits of the container; None: unknown."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    if sys.platform == "linux":
        return left_on_linux(Path("/"))
    if sys.platform == "darwin":
        return _on_macos()
    return _on_windows() if sys.platform == "win32" else None


def own_bytes() -> int:
    """Memory that this process and its children hold and that no file backs; 0 where nobody says so."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return sum(map(_anonymous, family(os.getpid())))


def family(process: int) -> list[int]:
    """The process and all that descend from it."""
    found = [process]
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text("ascii").split():
                found += family(int(child))
    return found


def _anonymous(process: int) -> int:
    """What is shared by several processes is counted in parts."""
    try:
        told = re.search(
            r"^Pss_Anon:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text("ascii"), re.MULTILINE
        )
    except OSError:
        return 0
    return int(told[1]) * 1024 if told else 0


def left_on_linux(root: Path) -> int | None:
    """What the kernel, and the control groups that this process is in, still allow; `root` is the file system's."""
    try:
        told = re.search(r"^MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    left = [int(told[1]) * 1024] if told else []
    return min([*left, *_left_in_groups(root)], default=None)


def _left_in_groups(root: Path) -> list[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    groups, found = root / "sys/fs/cgroup", list[int]()
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            found += _left(groups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            found += _left(groups / "memory", path, *names)
    return found


def _left(root: Path, path: str, limit: str, usage: str, cached: str) -> list[int]:
    """What a group, and each that is around it, still allows; the cache of files makes room by itself."""
    folder = root / path.lstrip("/")
    found: list[int] = []
    # Inside a container the path may be the host's, which is not there: then the root is the container's own.
    for group in (folder, *folder.parents[: len(folder.relative_to(root).parts)]):
        try:
            most = (group / limit).read_text("ascii").strip()
            if most != "max" and int(most) < _UNLIMITED:
                cache = re.search(rf"^{cached} (\d+)", (group / "memory.stat").read_text("ascii"), re.MULTILINE)
                used = int((group / usage).read_text("ascii")) - (int(cache[1]) if cache else 0)
                found.append(max(0, int(most) - used))
        except (OSError, ValueError):
            # The kernel offers no such file here.
            continue
    return found


def _on_macos() -> int | None:
    """Pages that are free, or can be without anything being written."""
    try:
        told = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", told, re.MULTILINE)
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE") if pages else None


class _MemoryStatus(ctypes.Structure):
    """Windows' MEMORYSTATUSEX."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        *((name, ctypes.c_ulonglong) for name in ("physical", "available", "page", "page_free", "virtual")),
        ("virtual_free", ctypes.c_ulonglong),
        ("extended", ctypes.c_ulonglong),
    ]


def _on_windows() -> int | None:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
