"""The worker's socket: lines from the web processes in, lines to them out; nothing here waits for a slow reader."""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import suppress
from pathlib import Path

from fewtune.service.worker.protocol import LONGEST_LINE, error_line

_MOST_UNREAD = 32 * 2**20
"""Bytes that somebody may leave unread before the connection is given up."""
_MOST_CONNECTIONS = 64
_READ = 2**16


class Peer:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unfinished = bytearray()
        """The beginning of a line."""
        self.skipping = False
        """A line that is too long is on its way."""
        self.unread = bytearray()
        self.is_open = True


class Connections:
    """Whoever may open the socket's file may speak: it lies in a folder of the user's own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._listening = _listen(path)
        self._peers: set[Peer] = set()
        self._wakes, self._waker = socket.socketpair()
        for one in (self._wakes, self._waker):
            one.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._selector.register(self._wakes, selectors.EVENT_READ, None)

    def take(self, seconds: float) -> tuple[list[tuple[Peer, bytes]], list[Peer]]:
        """Whole lines that have come, and the peers that are gone; waits at most so long for the first."""
        lines: list[tuple[Peer, bytes]] = []
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._listening:
                self._accept()
            elif key.fileobj is self._wakes:
                _drain(self._wakes)
            else:
                self._serve(key.data, events, lines)
        return lines, self._remove_closed()

    def send(self, peer: Peer, line: bytes) -> None:
        """At once as far as it goes, the rest when there is room."""
        if not peer.is_open:
            return
        peer.unread += line
        self._flush(peer)
        if len(peer.unread) > _MOST_UNREAD:
            peer.is_open = False

    def wake(self) -> None:
        """End a wait; from any thread."""
        with suppress(OSError):
            self._waker.send(b"w")

    def close(self) -> None:
        """What is unread is given a moment to go out."""
        for peer in self._peers:
            peer.connection.setblocking(True)
            peer.connection.settimeout(0.5)
            with suppress(OSError):
                peer.connection.sendall(peer.unread)
            peer.connection.close()
        self._selector.close()
        for one in (self._listening, self._wakes, self._waker):
            one.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listening.accept()
            if len(self._peers) >= _MOST_CONNECTIONS:
                connection.close()
                return
            connection.setblocking(False)
            peer = Peer(connection)
            self._peers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _serve(self, peer: Peer, events: int, lines: list[tuple[Peer, bytes]]) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(peer)
        if events & selectors.EVENT_READ and peer.is_open:
            try:
                received = peer.connection.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            peer.is_open = bool(received)
            self._split(peer, received, lines)

    def _split(self, peer: Peer, received: bytes, lines: list[tuple[Peer, bytes]]) -> None:
        *whole, rest = received.split(b"\n")
        for part in whole:
            line = bytes(peer.unfinished) + part
            peer.unfinished.clear()
            if peer.skipping or len(line) >= LONGEST_LINE:
                peer.skipping = False
                self.send(peer, error_line("The line is too long."))
            elif line:
                lines.append((peer, line))
        if not peer.skipping:
            peer.unfinished += rest
        if len(peer.unfinished) > LONGEST_LINE:
            peer.skipping = True
            peer.unfinished.clear()

    def _flush(self, peer: Peer) -> None:
        try:
            sent = peer.connection.send(peer.unread) if peer.unread else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            peer.is_open = False
            return
        del peer.unread[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unread else 0)
        if self._selector.get_key(peer.connection).events != wanted:
            self._selector.modify(peer.connection, wanted, peer)

    def _remove_closed(self) -> list[Peer]:
        gone = [peer for peer in self._peers if not peer.is_open]
        for peer in gone:
            self._peers.remove(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()
        return gone


def _listen(path: Path) -> socket.socket:
    """A file that a killed worker left is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listening.bind(str(fresh))
    fresh.chmod(0o600)
    listening.listen(_MOST_CONNECTIONS)
    listening.setblocking(False)
    os.replace(fresh, path)
    return listening


def _drain(wakes: socket.socket) -> None:
    with suppress(BlockingIOError):
        while wakes.recv(_READ):
            pass
