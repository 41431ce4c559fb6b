"""Asking over HTTP, as programs and strangers do: a real daemon with the demo model behind the door."""

from __future__ import annotations

import io
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from captiond.demo.scenes import draw, random_scene
from captiond.errors import CannotStart, ExitCode
from captiond.web.access import Access
from daemon_process import Place, captiond

TOKEN = "0123456789abcdef0123456789abcdef"
MOST_BYTES = 300_000
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCENE = random_scene(random.Random(7), 2)


def _picture() -> bytes:
    buffer = io.BytesIO()
    draw(SCENE, 480, 360).save(buffer, "JPEG")
    return buffer.getvalue()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    token_file = tmp_path_factory.mktemp("secret") / "token"
    token_file.write_text(TOKEN + "\n")
    token_file.chmod(0o600)
    http = {
        "listen": f"127.0.0.1:{_free_port()}",
        "token_file": str(token_file),
        "max_upload_bytes": MOST_BYTES,
    }
    place = Place(tmp_path_factory.mktemp("daemon"), {"http": http})
    place.address = http["listen"]  # type: ignore[attr-defined]
    return place


@pytest.fixture(scope="module")
def door(place: Place) -> Iterator[httpx.Client]:
    """A client that bears the token, of a running daemon."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://{place.address}"  # type: ignore[attr-defined]
    with place.running(), httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def _stranger(door: httpx.Client) -> httpx.Client:
    return httpx.Client(base_url=door.base_url, timeout=30, trust_env=False)


def test_a_picture_is_captioned_and_nothing_is_kept(door: httpx.Client, place: Place) -> None:
    """POST /infer answers {"caption": ...}, and no folder holds anything of it."""
    answer = door.post("/infer", files={"file": ("photo.jpg", _picture())})
    assert (answer.status_code, answer.json()) == (200, {"caption": SCENE.caption})
    assert place.left_in_inbox() == []
    assert [path for path in place.done.rglob("*") if path.suffix in (".jpg", ".json")] == []


def test_what_is_no_picture_is_refused_with_the_reason(door: httpx.Client) -> None:
    """415 says what it is not; 422 says which field is missing."""
    answer = door.post("/infer", files={"file": ("photo.jpg", b"a letter")})
    assert answer.status_code == 415 and "no JPEG, PNG" in answer.json()["detail"]
    assert door.post("/infer", files={"other": ("photo.jpg", _picture())}).status_code == 422


def test_uploads_are_bounded(door: httpx.Client) -> None:
    """413 for what says that it is too large, for what does not say so, and for a file a little too large."""

    def unannounced() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(20):
            yield b"0" * 50_000
        yield b"\r\n--x--\r\n"

    for size in (10 * MOST_BYTES, MOST_BYTES + 1):
        assert door.post("/infer", files={"file": ("a.jpg", b"0" * size)}).status_code == 413
    content_type = {"Content-Type": "multipart/form-data; boundary=x"}
    assert door.post("/infer", content=unannounced(), headers=content_type).status_code == 413


def test_strangers_are_not_let_in(door: httpx.Client, place: Place) -> None:
    """Without the token, or with a wrong one: 401 everywhere but at the API's description."""
    with _stranger(door) as stranger:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = stranger.post("/infer", files={"file": ("a.jpg", _picture())}, headers=headers)
            assert answer.status_code == 401
        assert stranger.get("/nothing").status_code == 401
        assert stranger.get("/healthz").json() == {"status": "ok"}
    assert TOKEN not in (place.root / "daemon.log").read_text()


def test_pages_of_other_sites_are_refused(door: httpx.Client) -> None:
    """A browser's request for a foreign page, or under a foreign name that leads here, goes unanswered."""
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 421),
    ):
        assert door.get("/healthz", headers=headers).status_code == status
    assert door.get("/healthz", headers={"Origin": f"http://{door.base_url.netloc.decode()}"}).is_success


def test_the_description_of_the_api_needs_no_other_host(door: httpx.Client) -> None:
    """/docs and all it loads come from this machine, under a policy that allows nothing else."""
    with _stranger(door) as stranger:
        page = stranger.get("/docs")
        assert page.is_success and "http" not in page.text.replace("http-equiv", "")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        for path in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert len(stranger.get(f"/docs/files/{path}").content) > 100_000
        assert stranger.get("/docs/start.js").is_success
        assert "/infer" in stranger.get("/openapi.json").json()["paths"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_the_description_of_the_api_works_in_a_browser(door: httpx.Client) -> None:
    """Swagger UI shows /infer, its policy stops nothing of it, and no request leaves this machine."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.goto(str(door.base_url.join("/docs")))
        page.get_by_text("/infer").first.wait_for()
        browser.close()
    inside = str(door.base_url).rstrip("/")
    assert [url for url in asked if not url.startswith((inside, "data:", "blob:"))] == []
    assert complaints == []


def test_a_door_to_other_machines_wants_a_token(tmp_path: Path) -> None:
    """Without one the daemon does not start, and says what to set; nor with one that can be guessed."""
    ended = captiond("run", "-c", Place(tmp_path, {"http": {"listen": "0.0.0.0:0"}}).settings)
    assert ended.returncode == ExitCode.WRONG_SETTINGS and "http.token_file" in ended.stderr
    short = captiond("run", "-c", tmp_path / "captiond.yaml", CAPTIOND_HTTP__TOKEN="hunter2")
    assert short.returncode == ExitCode.WRONG_SETTINGS and "hunter2" not in short.stderr


def test_a_taken_port_ends_the_start() -> None:
    """Exit code 75, and the address is named."""
    from captiond.web import Door

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotStart) as caught:
        Door("127.0.0.1", taken.getsockname()[1], token=None, max_upload_bytes=1)
    assert caught.value.exit_code is ExitCode.TRY_AGAIN and "127.0.0.1" in caught.value.message


def test_loopback_answers_to_its_own_names() -> None:
    """localhost, 127.0.0.1 and [::1], with a port or without; nothing that is no name at all."""
    access = Access("127.0.0.1", None)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert access.refuse({"host": host}) is None
    for host in ("", "evil.example:8000", "localhost.evil.example", "[::1", "127.0.0.1@evil.example"):
        assert access.refuse({"host": host}) is not None
