"""The command line: each command parses, calls one public function, and prints."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Entry point of `fewtune`: run the command, turn every error of ours into one line and its exit code."""
    from fewtune.cli.app import app
    from fewtune.errors import FewtuneError, from_os_error

    try:
        app()
    except FewtuneError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        told = from_os_error(error, "write the output")
        _end(str(told), told.exit_code)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            # The reader of a pipe went away, as `| head` does: nothing went wrong.
            raise SystemExit(0) from None
        if stop.code == _INTERRUPTED:
            _end("Stopped at once. Run the same command again to go on.", _INTERRUPTED)
        raise


def _end(line: str, exit_code: int) -> None:
    print(f"fewtune: {line}", file=sys.stderr)
    raise SystemExit(exit_code) from None
