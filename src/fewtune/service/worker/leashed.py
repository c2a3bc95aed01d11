"""The command line as a worker's child: standard input is the leash."""

from __future__ import annotations

import runpy
import sys

from fewtune.service.leash import end_at_once, hold


def main() -> None:
    hold(sys.stdin.fileno(), end_at_once)
    # As `python -m fewtune`: the command line is the layer above, which is started and not imported.
    runpy.run_module("fewtune", run_name="__main__")


if __name__ == "__main__":
    main()
