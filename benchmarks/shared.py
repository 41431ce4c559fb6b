"""What the daemon's benchmarks share: pictures, a model server, a daemon's process, a table with its
targets.

Every benchmark states its workload in its docstring, runs with sane defaults as one command, in under a
minute with `--quick`, prints a table and what became of each target, and writes the same as JSON with
`--json FILE`. Whatever is compared is measured in the same run, one after the other in turns, since the
machine may be shared.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "daemon")]

from daemon_process import Place as Place  # noqa: E402
from daemon_process import Running as Running  # noqa: E402

THIS_CHECKOUT = {"PYTHONPATH": str(REPOSITORY / "daemon")}  # for processes: nothing else is measured
SIZES = {0: (48, 36), 1: (1152, 864), 12: (4032, 3024)}  # megapixels -> pixels; 12 as telephones take them
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


# ---- pictures ------------------------------------------------------------------------------------


def photo(megapixels: int, seed: int = 0) -> bytes:
    """A JPEG as a camera makes it: detail at all scales, edges, a sensor's noise, EXIF with a make."""
    width, height = SIZES[megapixels]
    rng = np.random.default_rng(seed)
    light = np.zeros((height, width, 3), np.float32)
    side = 4
    while side < width:  # each octave half as strong as the one before, as in photographs
        small = rng.normal(0, 1, (max(1, side * height // width), side, 3)).astype(np.float32)
        small = small.mean(2, keepdims=True) * 0.8 + small * 0.2
        for channel in range(3):
            layer = Image.fromarray(small[:, :, channel]).resize((width, height), Image.Resampling.BICUBIC)
            light[:, :, channel] += np.asarray(layer) * (90 / side**0.5)
        side *= 2
    image = Image.fromarray(np.clip(light + 128, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, r = (int(rng.integers(low, high)) for low, high in ((0, width), (0, height), (3, width // 4)))
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        draw.ellipse((x, y, x + r, y + r), outline=colour, width=max(1, r // 30))
    grainy = np.asarray(image, np.float32) + rng.normal(0, 4.0, (height, width, 1))
    exif = Image.Exif()
    exif.update({271: "Maker", 272: "Model", 306: "2026:01:01 12:00:00"})
    buffer = io.BytesIO()
    Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def numbered(data: bytes, number: int) -> bytes:
    """The same picture as another file: its number in a comment behind its first segment."""
    at = 4 + int.from_bytes(data[4:6], "big")
    return data[:at] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + data[at:]


def fill(folder: Path, photos: Sequence[bytes], count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:07}.jpg").write_bytes(numbered(photos[number % len(photos)], number))


# ---- a model server ------------------------------------------------------------------------------

_ANSWER = json.dumps(
    {
        "choices": [
            {"message": {"role": "assistant", "content": "Picture NUMBER."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 790, "completion_tokens": 4},
    }
).encode()


@dataclass(frozen=True)
class ModelServer:
    """Chat completions from a process of its own that looks at nothing, and spends as little as it can."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def forget(self) -> None:
        self._get("/forget")

    def busy(self) -> list[tuple[float, float]]:
        """When each answer since `forget` was begun and ended, in seconds on the monotonic clock."""
        return [tuple(one) for one in self._get("/busy")]

    def _get(self, path: str) -> Any:
        with socket.create_connection(("127.0.0.1", self.port)) as asking:
            asking.sendall(f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            with asking.makefile("rb") as answer:
                return json.loads(answer.read().partition(b"\r\n\r\n")[2])


@contextmanager
def model_server(
    seconds: float = 0.0, capacity: int = 1 << 20, port: int = 0, *, is_killed: bool = False
) -> Iterator[ModelServer]:
    """Answers each question after `seconds`, at most `capacity` of them at once; ended or killed at last."""
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    process = context.Process(target=_serve, args=(seconds, capacity, port, taken), daemon=True)
    process.start()
    try:
        yield ModelServer(taken.get())
    finally:
        (process.kill if is_killed else process.terminate)()
        process.join()


def _serve(seconds: float, capacity: int, port: int, taken: Any) -> None:
    listening = socket.create_server(("127.0.0.1", port), backlog=512)
    taken.put(listening.getsockname()[1])
    model, busy = threading.BoundedSemaphore(capacity), []

    numbers = itertools.count(1)  # one answer for all would be taken for a model that does not see

    def think() -> bytes:
        with model:
            began = time.monotonic()
            if seconds:
                time.sleep(seconds)
            busy.append((began, time.monotonic()))
        return _ANSWER.replace(b"NUMBER", b"number %d" % next(numbers))

    def answer(asking: socket.socket) -> None:
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        room = bytearray(1 << 20)
        while head := _head(asking):
            length = next((int(one[15:]) for one in head if one.lower().startswith(b"content-length:")), 0)
            left = length - len(head[-1])
            while left > 0 and (got := asking.recv_into(room)):
                left -= got
            body = think() if head[0].startswith(b"POST") else json.dumps(busy).encode()
            if b"/forget" in head[0]:
                busy.clear()
            asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            if b"Connection: close" in head:
                break
        asking.close()

    while True:
        asking, _ = listening.accept()
        threading.Thread(target=answer, args=(asking,), daemon=True).start()


def _head(asking: socket.socket) -> list[bytes]:
    """The lines of a request, and behind them what came of its body; nothing where the peer has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = asking.recv(65536)
        if not more:
            return []
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return [*head.split(b"\r\n"), body]


# ---- a daemon's process --------------------------------------------------------------------------


# The pictures are alike and so are the answers: each is asked about all the same, and no model is suspected.
ASK_EACH: dict[str, dict[str, Any]] = {"cache": {"entries": 0}, "checks": {"same_answer_limit": 1000}}


def place_for(
    root: Path, url: str, checkout: Mapping[str, str] = THIS_CHECKOUT, **sections: dict[str, Any]
) -> Place:
    """Where each picture is asked about, though they are copies: no answer is remembered."""
    model = {"backend": "openai", "base_url": url, "id": "none", **sections.pop("model", {})}
    ask_each = {name: keys for name, keys in ASK_EACH.items() if name in _known_to(checkout["PYTHONPATH"])}
    return Place(root, {**ask_each, "model": model, **sections})


@cache
def _known_to(path: str) -> frozenset[str]:
    """The sections of the settings of that checkout: an older one refuses what it does not know."""
    code = "from captiond.settings import Settings; print(*Settings.model_fields)"
    command = [sys.executable, "-c", code]
    told = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return frozenset(told.stdout.split())


def cpu_seconds(process: int) -> float:
    """Of this process, of those that it started, and of theirs, as long as they run."""
    found, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        number = int(stat.parent.name)
        parents[number] = int(fields[1])
        found[number] = sum(map(int, fields[11:15])) / TICKS  # with those that it has waited for
    return sum(seconds for number, seconds in found.items() if _descends(number, process, parents))


def _descends(number: int, ancestor: int, parents: dict[int, int]) -> bool:
    while number != ancestor:
        if number not in parents:
            return False
        number = parents[number]
    return True


def memory_bytes(process: int) -> int:
    """What is resident just now."""
    return _status(process, "VmRSS")


def most_memory_bytes(process: int) -> int:
    return _status(process, "VmHWM")


def _status(process: int, key: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def delivered(folder: Path) -> int:
    """How many sidecars lie in a folder of done/, which may not be there yet."""
    names = os.listdir(folder) if folder.exists() else []
    return sum(name.endswith(".caption.json") for name in names)


def until(condition: Callable[[], bool], running: Running, *, every: float = 0.01) -> None:
    deadline = time.monotonic() + 3600
    while not condition():
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it came to nothing; the daemon said:\n{running.log()[-3000:]}")
        time.sleep(every)


# ---- what came of it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    what: str
    figure: float
    limit: float
    at_least: bool = False  # else at most

    @property
    def is_met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


@dataclass
class Report:
    """A table, and what became of the targets."""

    name: str
    workload: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        self.rows.append(row)
        print("  ".join(f"{key}: {_shown(value)}" for key, value in row.items()), file=sys.stderr, flush=True)

    def give(self, file: Path | None) -> None:
        """Print it, and write it where that is wanted."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        print(f"\n{self.name}: {self.workload}\n")
        print(f"| {' | '.join(keys)} |\n|{'---|' * len(keys)}")
        for row in self.rows:
            print(f"| {' | '.join(_shown(row.get(key, '')) for key in keys)} |")
        print()
        for one in self.targets:
            bound = "at least" if one.at_least else "at most"
            verdict = "met" if one.is_met else "MISSED"
            print(f"{verdict}: {one.what}: {_shown(one.figure)} ({bound} {_shown(one.limit)})")
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(self.as_json(), indent=1) + "\n")

    def as_json(self) -> dict[str, Any]:
        targets = [{**vars(one), "is_met": one.is_met} for one in self.targets]
        return {
            "benchmark": self.name,
            "workload": self.workload,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "rows": self.rows,
            "targets": targets,
        }


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, in under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
