"""What one daemon can feed to a chat-completions server: pictures a second, and CPU time for each.

Workload: a real `captiond run --once` over JPEGs of noise-like texture in a temporary folder, with
`model.backend: openai` and a server in a process of its own that answers each request after a set time
without looking at it.  So the daemon's own work is measured: decoding, making the JPEG for the wire, sending,
laying the caption into the file, proving it, and every sync of the delivery.  Times count from "watching" to
the last delivery; CPU time is the daemon's, less that of a run over an empty inbox.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests")]  # where the daemon's process is

from daemon_process import Place  # noqa: E402

SIZES = {1: (1155, 866), 12: (4000, 3000)}  # megapixels -> pixels
ANSWER = json.dumps(
    {
        "choices": [{"message": {"role": "assistant", "content": "A texture."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 790, "completion_tokens": 4},
    }
).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.seconds)
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: Any) -> None:
        """The table alone is printed."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(seconds: float, port: Any) -> None:
    Handler.seconds = seconds
    server = Server(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def jpeg(megapixels: int) -> bytes:
    """About as many bytes as a camera would make of it."""
    size = SIZES[megapixels]
    noise = Image.effect_noise((size[0] // 4, size[1] // 4), 60).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    Image.merge("RGB", [noise, noise.transpose(Image.Transpose.ROTATE_180), noise]).save(
        buffer, "JPEG", quality=92
    )
    return buffer.getvalue()


def run(url: str, concurrency: int, pictures: list[bytes]) -> tuple[float, float]:
    """Seconds from watching to the last delivery, and seconds of CPU in all."""
    model = {"backend": "openai", "base_url": url, "id": "none", "max_concurrency": concurrency}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), {"model": model})
        for number, data in enumerate(pictures):
            # Different bytes each, as cameras make them; what follows the end marker is kept and proven.
            place.drop(data + number.to_bytes(8, "big") + b"\xff\xd9", f"{number}.jpg")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = place.once()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended.returncode == 0, ended.stderr
        assert len(list(place.done.glob("*.caption.json"))) == len(pictures), ended.stderr
    events = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    times = [
        datetime.fromisoformat(event["timestamp"])
        for event in events
        if event["event"] in ("watching", "captioned")
    ]
    seconds = (max(times) - min(times)).total_seconds()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=0.5, help="until the server answers")
    arguments.add_argument("--pictures", type=int, default=200, help="of one megapixel; a fifth of 12")
    arguments.add_argument("--concurrency", type=int, nargs="+", default=[8, 32, 128])
    given = arguments.parse_args()
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    server = context.Process(target=serve, args=(given.seconds, port), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}/v1"
    _, idle_cpu = run(url, 8, [])
    print("| picture | bytes | in flight | pictures | pictures/s | CPU ms each |\n|---|---|---|---|---|---|")
    for megapixels in SIZES:
        data = jpeg(megapixels)
        count = given.pictures if megapixels == 1 else max(1, given.pictures // 5)
        for concurrency in given.concurrency:
            seconds, cpu = run(url, concurrency, [data] * count)
            print(
                f"| {megapixels} MP | {len(data) / 1e6:.1f} MB | {concurrency} | {count} "
                f"| {count / seconds:.1f} | {1000 * (cpu - idle_cpu) / count:.0f} |",
                flush=True,
            )
    server.terminate()


if __name__ == "__main__":
    main()
