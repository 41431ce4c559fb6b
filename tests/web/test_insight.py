"""How the daemon is set up and how it fared, as the API tells it: a real daemon over real files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from captiond.history import History
from captiond.records import Timings
from open_page import Served, long_ago, picture, serving

TOKEN = "0123456789abcdef0123456789abcdef"
HOOK = "http://127.0.0.1:9/hooks/T0PS3CRET"


ENVIRONMENT = {"CAPTIOND_LIMITS__ATTEMPTS": "5", "CAPTIOND_MODEL__API_KEY": "k3y"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("daemon")
    (root / "token").write_text(TOKEN)
    (root / "token").chmod(0o600)
    settings = {
        "notify": {"url": HOOK, "timeout_seconds": 0.5},
        "http": {"token_file": str(root / "token")},
        "profiles": [{"match": "shop/**", "caption": {"prompt": "What is for sale?"}}],
    }
    with serving(root, settings, more=ENVIRONMENT) as served:
        served.deliver("red.jpg", picture("red"))
        served.fail("bad.png")
        yield served


@pytest.fixture
def door(served: Served) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30) as door:
        yield door


def test_each_setting_is_told_with_where_it_stands(served: Served, door: httpx.Client) -> None:
    """The file and its line, the environment, or the default; what a profile says otherwise; no secret."""
    answer = door.get("/api/settings")
    told = {one["key"]: one for one in answer.json()["settings"] if one["profile"] is None}
    assert answer.json()["file"] == str(served.place.settings)
    assert told["watch.settle_seconds"]["value"] == 0.05
    assert told["watch.settle_seconds"]["where"] == f"{served.place.settings}, line 1"
    assert (told["limits.attempts"]["value"], told["limits.attempts"]["where"]) == (5, "environment")
    assert (told["output.description"]["value"], told["output.description"]["where"]) == ("keep", "default")
    assert told["folders.inbox"]["value"] == str(served.place.inbox)
    (otherwise,) = [one for one in answer.json()["settings"] if one["profile"] is not None]
    assert (otherwise["key"], otherwise["value"]) == ("caption.prompt", "What is for sale?")
    for secret in (TOKEN, "k3y", "T0PS3CRET"):
        assert secret not in answer.text
    assert told["notify.url"]["value"].startswith("http://127.0.0.1:9/...")


def test_the_last_lines_of_the_log_are_told(door: httpx.Client) -> None:
    """As they stand there, each with a number by which only what is newer is asked for."""
    told = door.get("/api/log").json()
    events = [one["line"]["event"] for one in told["lines"]]
    assert "captioned" in events and told["lines"][0]["line"]["level"] == "info"
    numbers = [one["number"] for one in told["lines"]]
    assert numbers == sorted(numbers) and told["newest"] >= numbers[-1]
    newer = door.get("/api/log", params={"after": numbers[2]}).json()["lines"]
    assert [one["number"] for one in newer][: len(numbers) - 3] == numbers[3:]


def test_numbers_are_told_by_day_and_kind(served: Served, door: httpx.Client) -> None:
    """Of the days of whoever asks."""
    told: dict[str, object] = {}

    def is_counted() -> bool:
        told.update(door.get("/api/numbers").json())
        days: list[dict[str, float]] = told["days"]  # type: ignore[assignment]
        return bool(days) and sum(day["captioned"] + day["failed"] for day in days) == 2

    served.daemon.until(is_counted)
    assert told["failures"] == {"unreadable": 1}
    for odd in ({"days": 0}, {"days": 10**9}, {"ahead_minutes": 10**9}):
        assert door.get("/api/numbers", params=odd).status_code == 422


def test_strangers_learn_nothing(served: Served) -> None:
    """Without the token there are no settings, no log and no numbers."""
    for path in ("/api/settings", "/api/log", "/api/numbers"):
        assert httpx.get(f"{served.url}{path}", trust_env=False).status_code == 401


def test_a_day_begins_where_the_reader_is(tmp_path: Path) -> None:
    """A picture of 23:30 UTC is of the next day for whoever is an hour ahead; seconds leave out the wait."""
    history = History(tmp_path)
    at = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
    for number, minutes in enumerate((0, 10, 45)):
        timings = Timings(queued=99.0, decode=0.5, caption=1.0 + number, publish=0.5)
        history.record(replace(long_ago(number), at=at + timedelta(minutes=minutes), timings=timings))
    assert history.flush(30)
    in_utc = history.numbers(at - timedelta(days=1), timedelta(0)).days
    assert [(str(day.day), day.captioned, day.seconds) for day in in_utc] == [
        ("2026-05-01", 2, 2.5),
        ("2026-05-02", 1, 4.0),
    ]
    ahead = history.numbers(at - timedelta(days=1), timedelta(hours=1)).days
    assert [(str(day.day), day.captioned) for day in ahead] == [("2026-05-02", 3)]
    assert history.numbers(at + timedelta(minutes=20), timedelta(0)).days[0].captioned == 1
    history.close()
