"""The command line: each command parses, calls one public function, and prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `fewtune`: run the command, turn every error of ours into one line and its exit code."""
    from fewtune.cli.app import app
    from fewtune.errors import FewtuneError

    try:
        app()
    except FewtuneError as error:
        print(f"fewtune: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("fewtune: Stopped at once. Run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe went away, as `| head` does.
        sys.stderr.close()
        raise SystemExit(0) from None
