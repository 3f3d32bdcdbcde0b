"""What another client feels meanwhile: one HEAD every 20 ms over a connection of its own.

A process of its own, so that the load generator does not delay it: `python -m benchmarks.prober HOST PORT PATH`. It
prints one line when it is connected, goes on until its stdin ends, then prints the seconds that each answer took.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PERIOD = 0.02
ANSWER = 30.0


def probe(host: str, port: int, path: str) -> list[float]:
    """Ask until stdin ends; return how long each answer took."""
    question = f"HEAD {path} HTTP/1.1\r\nHost: {host}:{port}\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    times: list[float] = []
    with socket.create_connection((host, port), ANSWER) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            began = time.perf_counter()
            connection.sendall(question)
            answer = b""
            while b"\r\n\r\n" not in answer:
                more = connection.recv(65536)
                if not more:
                    return times
                answer += more
            times.append(time.perf_counter() - began)
            due = max(due + PERIOD, time.monotonic())
    return times


@contextlib.contextmanager
def probing(address: tuple[str, int], path: str) -> Iterator[list[float]]:
    """Probe while a block runs; yield a list that is filled at its end."""
    times: list[float] = []
    command = [sys.executable, "-m", "benchmarks.prober", address[0], str(address[1]), path]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            if child.stdout is not None:
                child.stdout.readline()
            yield times
            out, _ = child.communicate("", ANSWER)
            times += json.loads(out or "[]")
        finally:
            if child.poll() is None:
                child.kill()


def main() -> None:
    """Probe, then print what came out."""
    host, port, path = sys.argv[1:]
    json.dump(probe(host, int(port), path), sys.stdout)


if __name__ == "__main__":
    main()
