"""Promises about /metrics, asked of real daemons over HTTP and read by Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from captiond.captioners.local import LocalCaptioner
from captiond.records import ModelIdentity
from captiond.status import Gauges
from daemon_process import Place, Running, free_port
from fake_chat_server import FakeChatServer, fails
from open_page import picture

TOKEN = "0123456789abcdef0123456789abcdef"
Samples = Mapping[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in plain(text)
        for sample in family.samples
    }


@dataclass(frozen=True)
class Watched:
    """A daemon on a model server, and somebody who may ask for its metrics."""

    place: Place
    daemon: Running
    server: FakeChatServer
    client: httpx.Client

    def now(self) -> Samples:
        return samples(self.client.get("/metrics").raise_for_status().text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with FakeChatServer() as server:
        model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        port = free_port()
        nobody = {"url": "http://127.0.0.1:1/hook"}
        settings = {"model": model, "http": {"listen": f"127.0.0.1:{port}"}, "notify": nobody}
        place = Place(tmp_path_factory.mktemp("daemon"), settings)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with (
            place.running(CAPTIOND_HTTP__TOKEN=TOKEN) as daemon,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client,
        ):
            yield Watched(place, daemon, server, client)


def test_prometheus_reads_what_happened(watched: Watched) -> None:
    """Pictures, failures by kind, stages, the inbox, a pause, the server's requests, and the process."""
    place, daemon, server, now = watched.place, watched.daemon, watched.server, watched.now
    place.drop(picture("gray", 20, 16, "PNG"), "one.png")
    place.drop(picture("gray", 30, 16, "PNG"), "two.png")
    place.drop(b"\x89PNG\r\n\x1a\n" + picture("gray", 20, 16, "PNG")[50:], "bad.png")
    place.drop(b"words", "letter.doc")
    daemon.until(lambda: now()["captiond_inbox_files", "ignored"] == 1)
    daemon.until(lambda: now()["captiond_stage_duration_seconds_count", "publish"] == 2)
    daemon.until(lambda: now()["captiond_pictures_total", "failed"] == 1)
    found = now()
    assert found["captiond_pictures_total", "captioned"] == 2
    assert found["captiond_pictures_total", "failed"] == found["captiond_failures_total", "unreadable"] == 1
    for stage in ("queued", "decode", "caption", "publish"):
        assert found["captiond_stage_duration_seconds_count", stage] == 2
    assert 0 < found["captiond_stage_duration_seconds_sum", "queued"] < 60
    assert found["captiond_inbox_files", "waiting"] == found["captiond_inbox_files", "in_work"] == 0
    assert (found["captiond_paused",], found["captiond_healthy",], found["captiond_pauses_total",]) == (
        0,
        1,
        0,
    )
    assert found["captiond_model_loaded",] == 1 and found["captiond_model_info", "openai", "fake-vision"] == 1
    assert found["captiond_server_requests_total",] == len(server.seen)
    assert found["captiond_server_requests_in_flight",] == 0
    now_seconds = datetime.now(UTC).timestamp()
    assert now_seconds - 600 < found["process_start_time_seconds",] < now_seconds
    assert found["captiond_webhook_notices_waiting",] == 3
    assert found["captiond_webhook_notices_total", "delivered"] == 0
    assert not [name for name, *_ in found if "gpu" in name]
    server.always = fails(500)
    place.drop(picture("gray", 40, 16, "PNG"), "three.png")
    daemon.until(lambda: now()["captiond_paused",] == 1)
    found = now()
    assert (found["captiond_healthy",], found["captiond_pauses_total",]) == (0, 1)
    server.always = None
    daemon.until(lambda: now()["captiond_pictures_total", "captioned"] == 3)
    assert (now()["captiond_paused",], now()["captiond_pauses_total",]) == (0, 1)


def test_who_may_ask_and_how_it_is_answered(watched: Watched) -> None:
    """The token is wanted; the two formats are called what they are, are parsed, and HEAD has no body."""
    client = watched.client
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in plain(answer.text)}
    ours = {name for name in families if name.startswith("captiond_")}
    assert {"captiond_build", "captiond_missed_events"} <= ours | {
        name.removesuffix("_info") for name in ours
    }
    assert all(family.documentation for family in families.values() if not family.name.endswith("_created"))
    modern = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "captiond_pictures" in {family.name for family in openmetrics(modern.text)}  # type: ignore[no-untyped-call]
    head = client.head("/metrics")
    assert head.is_success and not head.content
    assert head.headers["Content-Type"] == answer.headers["Content-Type"]
    assert client.post("/metrics").status_code == 405
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_card_tells_how_full_it_is(monkeypatch: pytest.MonkeyPatch, is_lost: bool) -> None:
    """By what CUDA says of all its users; a card that is lost says nothing and breaks nothing."""
    import torch

    def mem_get_info(device: str) -> tuple[int, int]:
        assert device == "cuda:0"
        if is_lost:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return 3_000, 24_000

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    captioner = LocalCaptioner(model_id="demo")
    assert captioner.gauges() == Gauges()  # not loaded: nothing is known of any card
    captioner._identity = ModelIdentity("demo", "transformers", device="cuda:0")
    told = Gauges() if is_lost else Gauges(memory_used_bytes=21_000, memory_bytes=24_000)
    assert captioner.gauges() == told
    captioner.close()


def test_pictures_that_nothing_serves_are_counted_by_kind(watched: Watched) -> None:
    """As long as they lie in the inbox; a kind without files is not told of."""
    told = ("captiond_unserved_pictures", "PNG under another name")
    assert told not in watched.now()
    scan = watched.place.drop(picture("gray", 20, 16, "PNG"), "scan")
    watched.daemon.until(lambda: watched.now().get(told) == 1)
    scan.unlink()
    watched.daemon.until(lambda: told not in watched.now())
