"""The web process: the application on the socket that the supervisor has bound."""

from __future__ import annotations

import argparse
import os
import socket

from fewtune.service.leash import end_at_once, hold
from fewtune.service.logs import log_to_stderr
from fewtune.service.settings import ServiceSettings

_LONGEST_HEADERS = 32 * 1024
"""Bytes of a request's line and headers together."""
_BACKLOG = 2048


def main() -> None:
    """`--socket` is the listening socket's descriptor, `--leash` that of a pipe which ends with the supervisor."""
    parser = argparse.ArgumentParser(prog="fewtune.service.web")
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--leash", type=int)
    given = parser.parse_args()
    os.umask(0o077)
    log_to_stderr("web")
    if given.leash is not None:
        hold(given.leash, end_at_once)
    serve(ServiceSettings.from_environment(), socket.socket(fileno=given.socket))


def serve(settings: ServiceSettings, listening: socket.socket) -> None:
    """Until SIGTERM or SIGINT; requests on their way then have `grace_seconds` to end."""
    import uvicorn

    from fewtune.service.app import create_app

    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        server_header=False,
        date_header=True,
        log_config=None,
        proxy_headers=False,
        lifespan="on",
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_LONGEST_HEADERS,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
