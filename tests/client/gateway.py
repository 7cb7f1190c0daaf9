"""Peers that are no gRPC server: a gateway that speaks HTTP/2, and sockets that do as they are told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PREFACE = 24  # bytes before a client's first frame
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
GRPC = b"application/grpc"


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen at a free port; each connection is served by a thread of its own."""
    threads: list[threading.Thread] = []
    lines: list[socket.socket] = []

    def each(line: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error):
            serve(line)
        line.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                lines.append(line)
                threads.append(threading.Thread(target=each, args=(line,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for line in lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


class Gateway:
    """Speaks HTTP/2, and passes messages on to a stand-in server where it does not refuse them.

    Args:
        stand_in: answers; its first request is for metadata, and is always passed on.
        refuse: of the bytes of a message the HTTP status to answer with, or None to pass it on.
    """

    def __init__(self, stand_in: Any, refuse: Callable[[int], int | None]) -> None:
        self.stand_in = stand_in
        self.refuse = refuse
        self.sizes: list[int] = []  # of the messages of predictions that came
        self._answers = [stand_in.metadata]

    def serve(self, line: socket.socket) -> None:
        """Serve one connection."""
        stream = line.makefile("rb")
        stream.read(PREFACE)
        line.sendall(frame(SETTINGS, 0, 0))
        bodies: dict[int, bytes] = {}
        while head := stream.read(9):
            size, kind, flags, number = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
            payload, number = stream.read(size), int.from_bytes(number, "big")
            if kind in (SETTINGS, PING) and not flags & ACK:
                line.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == DATA:
                bodies[number] = bodies.get(number, b"") + payload
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                line.sendall(self._answer(number, bodies.pop(number, b"")))

    def _answer(self, number: int, body: bytes) -> bytes:
        message = body[5:]
        if not self._answers and (status := self.refuse(len(message))) is not None:
            head = literal(8, str(status).encode()) + literal(31, b"text/html")
            return frame(HEADERS, END_HEADERS, number, head) + frame(DATA, END_STREAM, number, b"<html>No.</html>")
        answer = self._answers.pop(0) if self._answers else self._predict
        data = answer(message, None)
        data = b"\0" + struct.pack(">I", len(data)) + data
        head, tail = b"\x88" + literal(31, GRPC), b"\0" + text(b"grpc-status") + text(b"0")
        return (
            frame(HEADERS, END_HEADERS, number, head)
            + frame(DATA, 0, number, data)
            + frame(HEADERS, END_HEADERS | END_STREAM, number, tail)
        )

    def _predict(self, message: bytes, context: Any) -> bytes:
        self.sizes.append(len(message))
        return self.stand_in.predict(message, context)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(index: int, value: bytes) -> bytes:
    """Return a header field of a name in HPACK's static table (RFC 7541, section 6.2.2)."""
    return (bytes([index]) if index < 15 else bytes([15, index - 15])) + text(value)


def text(value: bytes) -> bytes:
    """Return a string of HPACK, without Huffman's code."""
    return bytes([len(value)]) + value
