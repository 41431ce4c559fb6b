"""Where the model is asked: by which way, which of several servers, and what is said where it goes wrong."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.captioners import way
from captiond.captioners.remote import RemoteCaptioner
from captiond.captioners.troubles import is_too_long
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.records import CaptionRequest, Picture, PictureFacts
from captiond.settings import load
from fake_chat_server import FakeChatServer, Handler, fails, hangs_up, sends

REQUEST = CaptionRequest("Describe what is shown in this image.", 160)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _picture(size: tuple[int, int] = (64, 48)) -> Picture:
    return Picture(Image.new("RGB", size, "red"), PictureFacts("PNG", *size))


def _captioner(url: str | list[str], **options: Any) -> RemoteCaptioner:
    return RemoteCaptioner(**{"base_url": url, "model_id": "fake-vision", **options})


def _ask(captioner: RemoteCaptioner, size: tuple[int, int] = (64, 48)) -> str:
    return captioner.ask(captioner.prepare(_picture(size)), REQUEST).text


# ---- the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "a.localhost", "[::1]"])
def test_a_server_on_this_machine_is_never_asked_by_a_proxy(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment and the settings say: a picture for loopback does not leave the machine."""
    for name in PROXIES[:3]:
        monkeypatch.setenv(name, "http://proxy:3128")
    assert way.proxy_for(f"http://{host}:8000/v1", None) is None
    assert way.proxy_for(f"http://{host}:8000/v1", "http://proxy:3128") is None


def test_the_proxy_is_the_settings_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """model.proxy first; else the one for the scheme, else ALL_PROXY; NO_PROXY takes a server out."""
    assert way.proxy_for("http://vllm:8000/v1", None) is None
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("HTTP_PROXY", "http://plain:2")
    assert way.proxy_for("http://vllm:8000/v1", None) == "http://plain:2"
    assert way.proxy_for("https://vllm/v1", None) == "http://all:1"
    assert way.proxy_for("https://vllm/v1", "http://mine:3") == "http://mine:3"
    monkeypatch.setenv("NO_PROXY", "vllm,other")
    assert way.proxy_for("http://vllm:8000/v1", None) is None


def test_pictures_go_by_the_proxy_that_is_asked_for(server: FakeChatServer) -> None:
    """The server elsewhere is asked through it, and the proxy is named where something goes wrong."""
    with (
        _proxy(server.port) as (proxy, asked),
        closing(_captioner("http://gpu.example:8000/v1", proxy=f"http://me:secret@{proxy}")) as captioner,
    ):
        assert _ask(captioner).startswith("A 64 by 48")
        assert asked == ["http://gpu.example:8000/v1/chat/completions"]
        server.script = [fails(502, "bad gateway")]
        with pytest.raises(Surroundings, match=f"by the proxy {proxy}") as caught:
            _ask(captioner)
        assert "secret" not in caught.value.message


def test_a_dead_proxy_is_not_told_as_a_dead_server() -> None:
    """Who cannot be reached is named, with the settings that lead there, and without its password."""
    with (
        closing(_captioner("http://gpu.example/v1", proxy="http://me:secret@127.0.0.1:1")) as captioner,
        pytest.raises(Surroundings, match=r"the proxy 127\.0\.0\.1:1, through which") as caught,
    ):
        _ask(captioner)
    assert "model.proxy" in (caught.value.advice or "") and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "words"), [("socks5://h:1080", "SOCKS"), ("ftp://h:1", "begins with none"), ("proxy", "begins")]
)
def test_a_proxy_of_no_use_is_told_at_the_start(
    proxy: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment as well, which no settings file can check; never a traceback."""
    monkeypatch.setattr(way, "find_spec", lambda _: None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(CannotStart, match=words) as caught:
        _captioner("http://gpu.example/v1")
    assert caught.value.exit_code == ExitCode.WRONG_SETTINGS and caught.value.advice
    _captioner("http://127.0.0.1:1/v1").close()  # which needs none


def test_a_unix_socket_is_refused_in_words(tmp_path: Path) -> None:
    """An address that cannot be asked says so, and which kind can."""
    file = tmp_path / "captiond.yaml"
    for address in ("http+unix://%2Frun%2Fvllm.sock/v1", "unix:/run/vllm.sock", "/run/vllm.sock"):
        file.write_text(f"model: {{backend: openai, base_url: '{address}'}}")
        with pytest.raises(CannotStart, match="Unix sockets are not asked"):
            load(file, {}, tmp_path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_self_signed_server_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    """Without model.ca_file the reason and the key are told; with it the server is asked."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FakeChatServer() as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        url = f"https://localhost:{server.port}/v1"
        with closing(_captioner(url)) as captioner:
            with pytest.raises(Surroundings, match="is not trusted: self-signed certificate") as caught:
                _ask(captioner)
            assert "model.ca_file" in (caught.value.advice or "")
        with closing(_captioner(url, ca_file=certificate)) as captioner:
            assert _ask(captioner).startswith("A 64 by 48")
    with pytest.raises(CannotStart, match=r"model\.ca_file"):
        _captioner(url, ca_file=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(CannotStart, match="holds no certificate"):
        _captioner(url, ca_file=tmp_path / "empty.pem")


def test_tls_to_a_server_that_speaks_none_is_told(server: FakeChatServer) -> None:
    """https where http is meant is a wrong address, not a dead server."""
    with (
        closing(_captioner(server.url.replace("http:", "https:"), timeout_seconds=5)) as captioner,
        pytest.raises(Surroundings, match="does not speak TLS") as caught,
    ):
        _ask(captioner)
    assert "http://" in (caught.value.advice or "")


# ---- odd answers ---------------------------------------------------------------------------------


def test_a_redirect_says_where_to(server: FakeChatServer) -> None:
    """No picture follows it; the address for model.base_url is told."""
    server.script = [fails(308, "moved", Location="https://new.example/v1/chat/completions")]
    with closing(_captioner(server.url)) as captioner, pytest.raises(Surroundings) as caught:
        _ask(captioner)
    assert "https://new.example/v1" in caught.value.message
    assert "model.base_url to https://new.example/v1:" in (caught.value.advice or "")


def test_a_server_that_only_streams_is_told_as_such(server: FakeChatServer) -> None:
    """Events instead of an answer are the server's trouble and no picture's."""

    def events(handler: Handler) -> None:
        body = b'data: {"choices": [{"delta": {"content": "A"}}]}\n\ndata: [DONE]\n\n'
        handler.reply_bytes(200, body)

    server.script = [events]
    with closing(_captioner(server.url)) as captioner, pytest.raises(Surroundings, match="in pieces"):
        _ask(captioner)


def test_an_error_inside_a_200_is_an_error(server: FakeChatServer) -> None:
    """It pauses the work with its words; one that tells of a small context is about the picture."""
    wrong = sends(b'{"error": {"message": "upstream is gone", "code": 502}}')
    with closing(_captioner(server.url)) as captioner:
        server.script = [wrong]
        with pytest.raises(Surroundings, match="an error inside: upstream is gone"):
            _ask(captioner)
        server.script = [sends(b'{"error": "the context length is exceeded"}')] * 2
        with pytest.raises(Rejected, match="context length"):
            _ask(captioner, (900, 600))


# ---- small contexts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "the request exceeds the available context size, try increasing it",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The decoder prompt (length 5101) is longer than the maximum model length of 4096.",
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "input length exceeds the context length",
        "prompt is too long: 9000 tokens > 8192 maximum",
    ],
)
def test_words_for_a_small_context_are_known(said: str) -> None:
    """As servers say it; other complaints are none."""
    assert is_too_long(said)
    assert not is_too_long("fake-vision is not a multimodal model")
    assert not is_too_long("image is too odd")


def _up_to(side: int) -> Any:
    """A server whose context takes pictures of that many pixels."""

    def step(handler: Handler) -> None:
        if max(handler.seen.image.size) > side:
            handler.complain(400, "the request exceeds the available context size (4096 tokens)")
        else:
            handler.say(f"{max(handler.seen.image.size)} {handler.seen.image.getpixel((0, 0))}")

    return step


def test_what_is_sent_fits_the_servers_context(server: FakeChatServer) -> None:
    """A probe of full size finds out at the start; from then on smaller pictures are sent."""
    server.always = _up_to(1100)
    with closing(_captioner(server.url)) as captioner:
        captioner.load()
        server.seen.clear()
        assert _ask(captioner, (3000, 2000)).startswith("1024 ")
        assert len(server.seen) == 1
    server.always = _up_to(100)
    with (
        closing(_captioner(server.url)) as captioner,
        pytest.raises(CannotStart, match="takes no pic") as caught,
    ):
        captioner.load()
    assert "model.max_side" in (caught.value.advice or "")


def test_a_picture_that_is_too_long_is_tried_once_at_half_its_size(server: FakeChatServer) -> None:
    """If that does not help while plain pictures are taken, it is set aside, and the setting is named."""
    with closing(_captioner(server.url)) as captioner:
        captioner.load()
        server.always = _up_to(1100)
        assert _ask(captioner, (3000, 2000)).startswith("1024 ")
        long = fails(400, "maximum context length is 4096 tokens")
        server.script, server.always = [long, long], None
        with pytest.raises(Rejected) as caught:
            _ask(captioner, (3000, 2000))
        assert "model.max_side" in (caught.value.advice or "")
    with closing(_captioner(server.url, max_side=800)) as captioner:
        assert _ask(captioner, (3000, 2000)).startswith("A 800 by 533")


# ---- who answered --------------------------------------------------------------------------------


def test_the_answers_own_model_stands_beside_ours(server: FakeChatServer) -> None:
    """Some servers take any name: what they say they run is kept where it is another."""
    body = b'{"model": "real.gguf", "choices": [{"message": {"content": "A wall."}}]}'
    with closing(_captioner(server.url)) as captioner:
        assert captioner.ask(captioner.prepare(_picture()), REQUEST).model.served_as is None
        server.script = [sends(body)]
        model = captioner.ask(captioner.prepare(_picture()), REQUEST).model
    assert (model.id, model.served_as) == ("fake-vision", "real.gguf")


# ---- several servers -----------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_several_servers_share_the_work() -> None:
    """The least busy one is asked; `max_concurrency` is for each of them."""
    with FakeChatServer(seconds_per_answer=0.1) as one, FakeChatServer(seconds_per_answer=0.1) as two:
        with closing(_captioner([one.url, two.url], max_concurrency=2)) as captioner:
            captioner.load()
            one.seen.clear(), two.seen.clear()
            assert captioner.capacity == 4
            prepared = captioner.prepare(_picture())
            with ThreadPoolExecutor(4) as callers:
                list(callers.map(lambda _: captioner.ask(prepared, REQUEST), range(20)))
        assert 8 <= len(one.seen) <= 12 and len(one.seen) + len(two.seen) == 20
        assert max(one.most_in_flight, two.most_in_flight) <= 2


def test_questions_of_one_picture_go_to_one_server() -> None:
    """Which has read the picture already."""
    with FakeChatServer() as one, FakeChatServer() as two:
        with closing(_captioner([one.url, two.url])) as captioner:
            captioner.load()
            one.seen.clear(), two.seen.clear()
            captioner.ask_all(captioner.prepare(_picture()), [REQUEST] * 6)
        assert sorted([len(one.seen), len(two.seen)]) == [0, 6]


def test_a_dead_server_costs_nobody_anything() -> None:
    """Its questions go to the others, it is left out, and once its time is over it is asked again."""
    clock = Clock()
    with FakeChatServer() as one, FakeChatServer() as two:
        port = two.port
        with closing(_captioner([one.url, two.url], clock=clock)) as captioner:
            captioner.load()
            two.always = hangs_up  # on connections that are open
            two.stop()
            for _ in range(10):
                assert _ask(captioner)
            seen = len(one.seen)
            with FakeChatServer(port=port) as again:
                clock.now += 60
                for _ in range(6):
                    clock.now += 60
                    assert _ask(captioner)
                assert again.seen and len(one.seen) < seen + 6
            one.always = again.always = hangs_up
            with pytest.raises(Surroundings, match="cannot be reached"):
                _ask(captioner)


def test_a_server_that_is_not_there_at_the_start_joins_later() -> None:
    """Work begins with those that are there; with none of them there is no start."""
    clock = Clock()
    with FakeChatServer() as one, FakeChatServer() as gone:
        port = gone.port
        gone.stop()
        with closing(_captioner([gone.url, one.url], clock=clock)) as captioner:
            captioner.load()
            assert _ask(captioner)
            with FakeChatServer(port=port) as back:
                for _ in range(4):
                    clock.now += 60
                    assert _ask(captioner)
                assert back.seen
        one.stop()
        with closing(_captioner([one.url, gone.url])) as captioner, pytest.raises(Surroundings):
            captioner.load()


def test_servers_must_agree_on_the_model() -> None:
    """Two that say they run different models would describe one inbox in two voices."""

    def runs(name: str) -> Any:
        return lambda handler: handler.reply(
            200, {"model": name, "choices": [{"message": {"content": handler.seen.prompt}}]}
        )

    with FakeChatServer() as one, FakeChatServer() as two:
        one.always, two.always = runs("a"), runs("b")
        with closing(_captioner([one.url, two.url])) as captioner, pytest.raises(CannotStart) as caught:
            captioner.load()
        assert "says a" in caught.value.message and "says b" in caught.value.message


def test_one_picture_that_every_server_fails_on_stops_no_other(server: FakeChatServer) -> None:
    """Both answer 500 to it: it alone is tried later, once they have served others meanwhile."""
    with FakeChatServer() as two, closing(_captioner([server.url, two.url])) as captioner:
        captioner.load()
        for one in (server, two):
            one.always = lambda handler: (
                handler.complain(500, "boom") if handler.seen.image.width == 50 else handler.say("A wall.")
            )
        with pytest.raises(Surroundings):
            _ask(captioner, (50, 50))
        for _ in range(4):
            assert _ask(captioner) == "A wall."
        with pytest.raises(TryLater):
            for _ in range(2):
                try:
                    _ask(captioner, (50, 50))
                except Surroundings:
                    continue


@contextmanager
def _proxy(port: int) -> Iterator[tuple[str, list[str]]]:
    """A small HTTP proxy that sends everything to one port here, whatever server is meant."""
    asked: list[str] = []

    class Passing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as behind:
                behind.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                answer = behind.getresponse()
                said = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests speak for themselves."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_address[1]}", asked
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
