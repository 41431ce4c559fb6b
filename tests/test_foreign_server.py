"""captiond with a chat server that nobody here wrote: `transformers serve`, over a tiny checkpoint."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from daemon_process import Place, environment

STARTING_SECONDS = 100.0  # it imports torch and transformers anew

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"transformers[serving] is not there: no {MISSING}"),
    pytest.mark.timeout(240),
]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The server's address and the checkpoint it serves: a real LLaVA, small and never trained."""
    from tiny_families import save

    checkpoint = save("llava", tmp_path / "llava")
    port = _free_port()
    script = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", script, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--device", "cpu"], stdout=log, stderr=log, env=environment(), start_new_session=True
        )
    try:
        _await_health(port, server, tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}/v1", str(checkpoint)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _await_health(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
        except httpx.HTTPError:
            said = log.read_text(errors="replace")
            assert server.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        else:
            return


def test_transformers_serve_captions_what_is_dropped(served: tuple[str, str], tmp_path: Path) -> None:
    """The daemon delivers pictures with what `transformers serve` says, tokens counted, and logs no key."""
    url, checkpoint = served
    place = Place(
        tmp_path / "place",
        {
            "model": {"backend": "openai", "base_url": url, "id": checkpoint, "max_concurrency": 2},
            "caption": {"max_new_tokens": 8},
            "log": {"format": "json", "level": "debug"},
        },
    )
    for name, colour in (("red.jpg", "red"), ("trip/blue.png", "blue")):
        buffer = io.BytesIO()
        Image.new("RGB", (80, 60), colour).save(buffer, "JPEG" if name.endswith("jpg") else "PNG")
        place.drop(buffer.getvalue(), name)
    ended = place.once(CAPTIOND_MODEL__API_KEY="s3cret-of-the-house")
    assert ended.returncode == 0, ended.stderr
    for name in ("red.jpg", "trip/blue.png"):
        record = place.sidecar(name)
        assert record["caption"]
        assert record["model"]["backend"] == "openai"
        assert record["model"]["id"] == checkpoint
        assert record["generation"]["new_tokens"] == 8
        assert record["generation"]["prompt_tokens"] > 16
        assert record["generation"]["finish_reason"] == "length"
    assert place.left_in_inbox() == []
    assert "s3cret" not in ended.stderr + ended.stdout
