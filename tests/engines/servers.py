"""The engines that `make engines` tries: where they are, how each is started and killed.  None is a mock."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from daemon_process import environment

HERE = Path(__file__).parent
STARTING_SECONDS = 1200.0  # vLLM imports, inspects and profiles, on a machine where others work too
KEY = "the-key-of-the-house"
SLOTS = "2"  # of llama.cpp


@dataclass(frozen=True)
class Engine:
    """A kind of server.  `command` is told its Python, the checkpoint, the port and the context."""

    name: str
    variable: str  # of the environment: the Python that it is installed for
    package: str
    modules: tuple[str, ...]
    make: Callable[[str, Path], None]
    command: Callable[[str, Path, int, int], list[str]]
    model_id: Callable[[Path], str]
    has_keys: bool = True
    surroundings: tuple[tuple[str, str], ...] = ()

    @property
    def python(self) -> str:
        return os.environ.get(self.variable) or sys.executable

    def version(self) -> str:
        asked = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        ended = subprocess.run(
            [self.python, "-c", asked], capture_output=True, text=True, check=True, timeout=60
        )
        return f"{self.package} {ended.stdout.strip()}"

    def missing(self) -> str | None:
        """Why it cannot be tried here."""
        return _missing(self.python, self.modules, f"{self.name}: set {self.variable} to the Python it is in")


@cache
def _missing(python: str, modules: tuple[str, ...], advice: str) -> str | None:
    if python == sys.executable:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        return f"{advice} (this one lacks {', '.join(absent)})" if absent else None
    asked = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {list(modules)})))"
    try:
        ended = subprocess.run([python, "-c", asked], check=False, timeout=60)
    except OSError as error:
        return f"{advice} ({error})"
    return f"{advice} ({python} lacks one of {', '.join(modules)})" if ended.returncode else None


def _save_llava(_: str, folder: Path) -> None:
    from tiny_families import save

    save("llava", folder)


def _save_qwen2_vl(_: str, folder: Path) -> None:
    from tiny_families import FAMILIES

    save_qwen2_vl(folder, FAMILIES)


def _save_closing_qwen2_vl(_: str, folder: Path) -> None:
    from tiny_families import FAMILIES

    save_qwen2_vl(folder, FAMILIES, closes_quotes=True)


def save_qwen2_vl(
    folder: Path, families: Mapping[str, Callable[[], Any]], *, closes_quotes: bool = False
) -> None:
    """With the part for videos, which vLLM wants to see, and which ours is made without."""
    from tiny_families import save

    save("qwen2_vl", folder, families, closes_quotes=closes_quotes)
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    videos = {**config["image_processor"], "video_processor_type": "Qwen2VLVideoProcessor"}
    del videos["image_processor_type"]
    file.write_text(json.dumps({**config, "video_processor": videos}))


def _write_gguf(python: str, folder: Path) -> None:
    subprocess.run([python, HERE / "tiny_gguf.py", folder], check=True, timeout=120)


def _write_closing_gguf(python: str, folder: Path) -> None:
    subprocess.run([python, HERE / "tiny_gguf.py", folder, "closes"], check=True, timeout=120)


def _llama_cpp(python: str, folder: Path, port: int, context: int) -> list[str]:
    return [python, str(HERE / "llama_server.py"), str(folder), str(port), str(context), SLOTS, KEY]


def _transformers(python: str, folder: Path, port: int, _: int) -> list[str]:
    script = "from transformers.cli.transformers import main; main()"
    return [python, "-c", script, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]


def _vllm(python: str, folder: Path, port: int, context: int) -> list[str]:
    command = [python, "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(context)]
    return [*command, "--enforce-eager", "--dtype", "float32", "--max-num-seqs", "8", "--api-key", KEY]


LLAMA_CPP = Engine(
    "llama.cpp",
    "ENGINES_LLAMACPP",
    "xllamacpp",
    ("xllamacpp", "gguf"),
    _write_gguf,
    _llama_cpp,
    lambda _: "tiny",
)
TRANSFORMERS = Engine(
    "transformers serve",
    "ENGINES_TRANSFORMERS",
    "transformers",
    ("transformers", "fastapi", "uvicorn", "openai"),
    _save_llava,
    _transformers,
    str,
    has_keys=False,
)
VLLM = Engine(
    "vLLM",
    "ENGINES_VLLM",
    "vllm",
    ("vllm",),
    _save_qwen2_vl,
    _vllm,
    lambda _: "tiny",
    surroundings=(
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ),
)
# The same engines with a model whose JSON gets done.
CLOSING = {
    "llama.cpp": replace(LLAMA_CPP, make=_write_closing_gguf),
    "vLLM": replace(VLLM, make=_save_closing_qwen2_vl),
}
ENGINES = {engine.name: engine for engine in (LLAMA_CPP, TRANSFORMERS, VLLM)}


class Server:
    """A process, and what it starts; it can be killed and started again at the same address."""

    def __init__(self, engine: Engine, checkpoint: Path, context: int, log: Path) -> None:
        self.engine, self.checkpoint, self._context, self._log = engine, checkpoint, context, log
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = int(listener.getsockname()[1])
        self.model_id = engine.model_id(checkpoint)
        self.key = KEY if engine.has_keys else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it runs"
        return self._process

    def start(self) -> None:
        command = self.engine.command(self.engine.python, self.checkpoint, self._port, self._context)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(**dict(self.engine.surroundings)),
                start_new_session=True,
            )

    def await_health(self) -> None:
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            try:
                httpx.get(self.url.removesuffix("/v1") + "/health", timeout=5).raise_for_status()
            except httpx.HTTPError:
                assert self._process and self._process.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """Without a word, with all that it started."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it could not start, and `said` tells why
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def ask(
        self, jpeg_uri: str, *, key: str | None = None, words: str = "Describe this.", **more: object
    ) -> httpx.Response:
        """One question by hand."""
        content = [{"type": "image_url", "image_url": {"url": jpeg_uri}}, {"type": "text", "text": words}]
        asked = {"model": self.model_id, "messages": [{"role": "user", "content": content}], "temperature": 0}
        url = self.url + "/chat/completions"
        return httpx.post(url, json={**asked, **more}, headers=self._headers(key), timeout=120)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self._headers(None), timeout=120)

    def _headers(self, key: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {key or self.key}"} if self.key else {}
