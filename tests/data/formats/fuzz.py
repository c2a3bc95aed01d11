"""Many damaged files in a process of its own, whose memory and time are watched.

    python tests/data/formats/fuzz.py EXAMPLES

Prints the seconds of the slowest file and the mebibytes by which the peak grew; exits 1 for any error not ours.
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


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(examples: int, folder: Path) -> None:
    for ending, whole in WHOLE.items():
        (folder / f"whole.{ending}").write_bytes(whole)
        read_through(folder / f"whole.{ending}")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = peak()
    slowest = max(slowest_of(ending, examples // len(WHOLE) + 1, folder) for ending in WHOLE)
    print(f"{slowest:.3f} {(peak() - before) / (1 << 20):.1f}")


def slowest_of(ending: str, examples: int, folder: Path) -> float:
    """Seconds of the processor for the slowest of so many files."""
    path, slowest = folder / f"any.{ending}", 0.0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(content=contents(ending))
    def read_any(content: bytes) -> None:
        nonlocal slowest
        path.write_bytes(content)
        begun = time.process_time()
        try:
            read_through(path)
        except DataError as error:
            assert error.where and error.fix
        slowest = max(slowest, time.process_time() - begun)

    read_any()
    return slowest


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(int(sys.argv[1]), Path(temporary))
