"""Many damaged files in a process of its own, whose memory and time are watched.

    python tests/data/formats/fuzz.py EXAMPLES

Prints the seconds of the slowest file and the mebibytes of the largest growth; exits 1 for any error not ours.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))

from specimens import WHOLE, contents, read_through

from fewtune.errors import DataError

_HEADROOM = 1 << 30
"""Of address space, far above what is allowed, so that a wild allocation fails at once."""


def main(examples: int, folder: Path) -> None:
    for ending, whole in WHOLE.items():
        (folder / f"whole.{ending}").write_bytes(whole)
        read_through(folder / f"whole.{ending}")
    limit = memory("VmSize") + _HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    worst = [worst_of(ending, examples // len(WHOLE) + 1, folder) for ending in WHOLE]
    seconds, grown = (max(values) for values in zip(*worst, strict=True))
    print(f"{seconds:.3f} {grown / (1 << 20):.1f}")


def memory(kind: str) -> int:
    """Bytes of this process: VmSize, VmRSS, or VmHWM, its peak since `forget_peak`."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{kind}:")[1].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def worst_of(ending: str, examples: int, folder: Path) -> tuple[float, int]:
    """Seconds of the processor, and bytes of memory, that any one of so many files took at most."""
    path = folder / f"any.{ending}"
    slowest, most = 0.0, 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(content=contents(ending))
    def read_any(content: bytes) -> None:
        nonlocal slowest, most
        path.write_bytes(content)
        forget_peak()
        before, begun = memory("VmRSS"), time.process_time()
        try:
            read_through(path)
        except DataError as error:
            assert error.where and error.fix
        slowest = max(slowest, time.process_time() - begun)
        most = max(most, memory("VmHWM") - before)

    read_any()
    return slowest, most


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(int(sys.argv[1]), Path(temporary))
