"""The command line as a worker's child: standard input is the leash."""

from __future__ import annotations

import sys

from fewtune.service.leash import end_at_once, hold


def main() -> None:
    from fewtune.cli import main as command_line

    hold(sys.stdin.fileno(), end_at_once)
    command_line()


if __name__ == "__main__":
    main()
