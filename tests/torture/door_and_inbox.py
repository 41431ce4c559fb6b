"""Crowds at the door and at the inbox together: afterwards memory and descriptors are what they were."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from daemon_process import Running
from faults.load import Load, loaded, picture
from process_tree import descriptors, own_share_bytes

WARM_SECONDS = 20.0
REST_SECONDS = 15.0
CLIENTS = 4
MORE_BYTES = 60_000_000  # the interpreter keeps what it had once; a leak of ten minutes is far more
MORE_DESCRIPTORS = 3


def crowd(root: Path, seconds: float) -> str:
    """Pictures dropped, uploaded, asked about and looked at, and clients that break off, for so long."""
    port = _free_port()
    with loaded(root, http={"listen": f"127.0.0.1:{port}"}) as load, load.running() as daemon:
        url = f"http://127.0.0.1:{port}"
        _act(load, daemon, url, WARM_SECONDS)
        before = _at_rest(load, daemon)
        asked = _act(load, daemon, url, seconds)
        after = _at_rest(load, daemon)
        assert after[0] - before[0] < MORE_BYTES, (before, after)
        assert after[1] - before[1] <= MORE_DESCRIPTORS, (before, after)
        delivered = load.delivered()
        load.check()
    mib = [round(one[0] / (1 << 20)) for one in (before, after)]
    return (
        f"{asked:,} requests, {delivered:,} pictures: {mib[0]} and then {mib[1]} MiB, "
        f"{before[1]} and then {after[1]} descriptors"
    )


def _at_rest(load: Load, daemon: Running) -> tuple[int, int]:
    load.until_delivered(daemon, patience_seconds=300)
    time.sleep(REST_SECONDS)
    return own_share_bytes(daemon.process.pid), descriptors(daemon.process.pid)


def _act(load: Load, daemon: Running, url: str, seconds: float) -> int:
    """How many requests were answered."""
    until, answered, wrong = time.monotonic() + seconds, [0] * CLIENTS, []

    def work(number: int) -> None:
        rng = random.Random(number)
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while time.monotonic() < until:
                try:
                    _REQUESTS[rng.randrange(len(_REQUESTS))](client, rng)
                    answered[number] += 1
                except Exception as error:
                    wrong.append(error)
                    return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        load.drop(5)
        time.sleep(0.5)
        assert daemon.process.poll() is None
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    return sum(answered)


def _ask(client: httpx.Client, rng: random.Random) -> None:
    data, caption = picture(rng.randrange(8000))
    answer = client.post("/infer", files={"file": ("a.jpg", data)})
    assert answer.json()["caption"] == caption


def _ask_about_nothing(client: httpx.Client, rng: random.Random) -> None:
    answer = client.post("/infer", files={"file": ("a.jpg", rng.randbytes(3000))})
    assert answer.status_code in (415, 422), answer.text


def _look(client: httpx.Client, rng: random.Random) -> None:
    for path in ("/", "/healthz", "/metrics", "/api/status", "/api/pictures", "/api/inbox"):
        assert client.get(path).status_code == 200
    found = client.get("/api/pictures").json()["pictures"]
    for one in found[:3]:
        assert client.get(f"/api/pictures/{one['id']}/thumbnail").status_code in (200, 404)


def _break_off(client: httpx.Client, rng: random.Random) -> None:
    """In the middle of an upload."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=30) as line:
        head = "POST /infer HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        line.sendall(f"{head}Content-Length: 50000\r\n\r\n--b\r\n".encode() + os.urandom(2000))


_REQUESTS: tuple[Callable[[httpx.Client, random.Random], None], ...] = (
    _ask,
    _ask_about_nothing,
    _look,
    _break_off,
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
