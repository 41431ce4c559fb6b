"""Promises about the history: everything is found again, nobody waits for it, and losing it harms nobody."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from captiond.errors import Surroundings
from captiond.history import History, Wanted, looked_into, rows
from captiond.records import Outcome, Timings
from daemon_process import Place
from fake_chat_server import FakeChatServer

_JPEG = io.BytesIO()
Image.new("RGB", (64, 48), "red").save(_JPEG, "JPEG")
JPEG = _JPEG.getvalue()
NOT_UTF8 = os.fsdecode(b"trip/\xff.jpg")
BEGAN = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
Opened = Callable[[Path], History]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens the history of a state folder, and closes it after the test."""
    with ExitStack() as closing:

        def open_(folder: Path) -> History:
            history = History(folder)
            closing.callback(history.close)
            return history

        yield open_


@pytest.fixture(params=["fts5", "without fts5"])
def any_sqlite(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With full text search compiled into SQLite, and as if it were not."""
    if request.param != "fts5":
        without = rows._WORDS.replace("fts5", "a_module_that_nobody_has")
        monkeypatch.setattr(rows, "_WORDS", without)


def captioned(
    path: str, caption: str = "A dog.", *, after_seconds: float = 0, sha256: str = "ab" * 32
) -> Outcome:
    return Outcome(
        path=path,
        folder="done",
        delivered=path,
        at=BEGAN + timedelta(seconds=after_seconds),
        sha256=sha256,
        caption=caption,
        model="demo",
        format="JPEG",
        width=640,
        height=480,
        timings=Timings(0.25, 0.5, 1.0, 0.125),
        attempts=1,
    )


def failed(path: str) -> Outcome:
    return Outcome(
        path=path,
        folder="failed",
        delivered=path,
        at=BEGAN,
        kind="unreadable",
        message="no picture",
        advice="Look.",
    )


def filled(history: History, *outcomes: Outcome) -> History:
    for outcome in outcomes:
        history.record(outcome)
    assert history.flush()
    return history


def paths(history: History, **question: object) -> list[str]:
    return [entry.path for entry in history.entries(**question)]  # type: ignore[arg-type]


def test_what_is_recorded_comes_back_unchanged(opened: Opened, tmp_path: Path) -> None:
    """Every field, of captioned and of failed pictures, also for names that are not UTF-8."""
    told = [captioned(NOT_UTF8, "Zwei Hunde \N{DOG FACE}"), failed("b.jpg")]
    history = filled(opened(tmp_path), *told)
    newest, oldest = history.entries()
    for entry, outcome in ((oldest, told[0]), (newest, told[1])):
        for name in Outcome.__dataclass_fields__:
            assert getattr(entry, name) == getattr(outcome, name), name
    assert history.entry(oldest.id) == oldest and history.entry(99) is None
    assert history.counts() == {"done": 1, "failed": 1, "needs_look": 0}


def test_pages_follow_each_other_newest_first(opened: Opened, tmp_path: Path) -> None:
    """`before` goes on where a page ended, whatever was added meanwhile; `folder` leaves the others out."""
    history = filled(
        opened(tmp_path), *(captioned(f"{number}.jpg") for number in range(5)), failed("bad.jpg")
    )
    page = history.entries(limit=3)
    assert [entry.path for entry in page] == ["bad.jpg", "4.jpg", "3.jpg"]
    filled(history, captioned("late.jpg"))
    assert paths(history, before=page[-1].id, limit=3) == ["2.jpg", "1.jpg", "0.jpg"]
    assert paths(history, folder="failed") == ["bad.jpg"]
    assert paths(history, folder="done", before=page[1].id, limit=1) == ["3.jpg"]


@pytest.mark.usefixtures("any_sqlite")
def test_a_search_finds_captions_and_names_by_all_its_words(opened: Opened, tmp_path: Path) -> None:
    """Case does not matter, nor which of the two a word is in; signs that mean something to SQL do not."""
    history = filled(
        opened(tmp_path),
        captioned("trip/IMG_1234.jpg", "Two dogs run along a beach."),
        captioned("home.jpg", "Ein Bär schläft. 100% Wolle_"),
        captioned("cafe.jpg", "海滩上有两只狗"),
        captioned(NOT_UTF8, "Nothing."),
        failed("beach.jpg"),
    )
    for search, found in {
        "BEACH": ["beach.jpg", "trip/IMG_1234.jpg"],
        "dogs beach": ["trip/IMG_1234.jpg"],
        "beach img_1234": ["trip/IMG_1234.jpg"],
        "trip/ dog": ["trip/IMG_1234.jpg"],
        "BÄR": ["home.jpg"],
        "两只狗": ["cafe.jpg"],
        "%": ["home.jpg"],
        "_": ["home.jpg", "trip/IMG_1234.jpg"],
        "beach 狗": [],
        "beach cat": [],
    }.items():
        assert paths(history, search=search) == found, search
    assert len(history.entries(search="  ")) == 5
    for nonsense in (
        '"',
        "AND",
        "NEAR(",
        "*",
        "a OR",
        "caption:",
        "\0",
        "\udcff",
        "'; DROP TABLE pictures; --",
        "a " * 999,
    ):
        history.entries(search=nonsense)
    assert paths(history, search="beach", folder="failed") == ["beach.jpg"]
    first = history.entries(search="beach")[0]
    assert paths(history, search="beach", before=first.id) == ["trip/IMG_1234.jpg"]


@pytest.mark.usefixtures("any_sqlite")
def test_a_persons_caption_takes_the_place_of_the_models(opened: Opened, tmp_path: Path) -> None:
    """The first caption is kept through every change, and a search finds the last one."""
    history = filled(opened(tmp_path), captioned("a.jpg", "A cat."))
    (entry,) = history.entries()
    history.revise(entry.id, "A lion.", BEGAN)
    revised = history.revise(entry.id, "A tiger.", BEGAN + timedelta(hours=1))
    assert revised == history.entry(entry.id) and revised is not None
    assert (revised.caption, revised.first_caption) == ("A tiger.", "A cat.")
    assert revised.edited_at == BEGAN + timedelta(hours=1)
    assert paths(history, search="tiger") == ["a.jpg"]
    assert paths(history, search="cat") == paths(history, search="lion") == []
    assert history.revise(99, "Nobody's.", BEGAN) is None


def test_the_last_of_a_path_and_of_a_delivered_name(opened: Opened, tmp_path: Path) -> None:
    """What was dropped twice under one name is told apart by where it went."""
    again = captioned("a.jpg", "Another.", after_seconds=5, sha256="cd" * 32)
    history = filled(opened(tmp_path), captioned("a.jpg"), again, failed(NOT_UTF8))
    last = history.last_of("a.jpg")
    assert last is not None and last.caption == "Another."
    assert history.by_delivered("failed", NOT_UTF8) == history.last_of(NOT_UTF8) != None  # noqa: E711
    assert history.by_delivered("done", NOT_UTF8) is None and history.last_of("b.jpg") is None


def test_what_needs_a_look_is_told_apart_until_somebody_looked(opened: Opened, tmp_path: Path) -> None:
    """Found and counted; a person's caption settles it, and so does a text that needs none."""
    odd = [replace(captioned(f"{name}.jpg"), needs_look=True) for name in "abc"]
    history = filled(opened(tmp_path), captioned("good.jpg"), *odd)
    found = history.find(Wanted(needs_look=True), 10)
    assert [entry.path for entry in found] == ["c.jpg", "b.jpg", "a.jpg"]
    assert all(entry.needs_look for entry in found) and history.counts()["needs_look"] == 3
    assert [entry.path for entry in history.find(Wanted(needs_look=False), 10)] == ["good.jpg"]
    revised = history.revise(found[0].id, "A lion.", BEGAN)
    marked = history.mark(found[1].id, needs_look=False)
    assert revised is not None and marked is not None and not revised.needs_look and not marked.needs_look
    assert [entry.path for entry in history.find(Wanted(needs_look=True, folder="done"), 10)] == ["a.jpg"]
    assert history.counts()["needs_look"] == 1 and history.mark(99, needs_look=True) is None


def test_what_waits_for_approval_is_counted_and_followed(opened: Opened, tmp_path: Path) -> None:
    """Told by the delivery, by each later change, and by whoever looked at the record; edits approve."""
    waiting = [replace(captioned(f"{name}.jpg"), awaits_approval=True) for name in "abcd"]
    history = filled(
        opened(tmp_path), *waiting, replace(captioned("odd.jpg"), needs_look=True), captioned("e.jpg")
    )
    assert history.awaiting_approval == 4
    assert history.to_review() == {"awaits_approval": 4, "to_review": 5}
    first, second, *_ = history.find(Wanted(awaits_approval=True), 10)
    filled(history, replace(waiting[0], event="approved", awaits_approval=False))
    history.revise(first.id, "My words.", BEGAN)
    history.mark(second.id, needs_look=False, awaits_approval=False)
    assert [entry.path for entry in history.find(Wanted(awaits_approval=True), 10)] == ["b.jpg"]
    assert history.awaiting_approval == 1 and history.to_review()["to_review"] == 2
    filled(history, replace(waiting[0], event="undone"))
    assert [entry.path for entry in history.find(Wanted(to_review=True), 10)] == ["odd.jpg", "b.jpg", "a.jpg"]


def test_a_history_of_an_earlier_version_goes_on(opened: Opened, tmp_path: Path) -> None:
    """Who only looks reads it as it is; the daemon adds what is missing, and no line is lost."""
    filled(opened(tmp_path), captioned("old.jpg")).close()
    file = tmp_path / "history.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as earlier:
        for index in ("by_look", "by_look_in"):
            earlier.execute(f"DROP INDEX {index}")
        earlier.execute("ALTER TABLE pictures DROP COLUMN needs_look")
        earlier.execute("PRAGMA journal_mode = DELETE").fetchone()
    content = file.read_bytes()
    with looked_into(tmp_path) as looking:
        assert looking is not None
        entry = looking.last_of("old.jpg")
        assert entry is not None and not entry.needs_look
        assert looking.counts() == {"done": 1, "failed": 0, "needs_look": 0}
        assert looking.find(Wanted(needs_look=True), 10) == []
    assert file.read_bytes() == content and os.listdir(tmp_path) == [file.name]
    history = filled(opened(tmp_path), replace(captioned("new.jpg"), needs_look=True))
    assert paths(history) == ["new.jpg", "old.jpg"]
    assert [entry.path for entry in history.find(Wanted(needs_look=True), 10)] == ["new.jpg"]
    assert not (tmp_path / "history-2.sqlite3").exists()


def test_what_a_start_finds_again_is_one_line(opened: Opened, tmp_path: Path) -> None:
    """A delivery that was told before a crash and is finished after it stands in the history once."""
    assert filled(opened(tmp_path), captioned("a.jpg"), captioned("a.jpg")).counts()["done"] == 1


def test_lines_of_a_sqlite_without_search_are_found_later(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of SQLite everything is searched, whichever wrote it."""
    with monkeypatch.context() as without:
        without.setattr(rows, "_WORDS", "CREATE VIRTUAL TABLE words USING a_module_that_nobody_has")
        filled(opened(tmp_path), captioned("a.jpg", "A cat.")).close()
    history = filled(opened(tmp_path), captioned("b.jpg", "A cat."))
    assert paths(history, search="cat") == ["b.jpg", "a.jpg"]


@pytest.mark.parametrize("deleted", ["*", "history.sqlite3", "history.sqlite3-*"])
def test_a_deleted_history_is_begun_anew(opened: Opened, tmp_path: Path, deleted: str) -> None:
    """Also while it is open, and with its journals left: what is told from then on is kept."""
    history = filled(opened(tmp_path), captioned("a.jpg"))
    for file in tmp_path.glob(deleted):
        file.unlink()
    filled(history, captioned("b.jpg")).close()
    assert paths(opened(tmp_path), limit=1) == ["b.jpg"]
    with looked_into(tmp_path) as looking:
        assert looking is not None and looking.last_of("b.jpg") is not None


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_history_is_left_beside_a_new_one(opened: Opened, tmp_path: Path, content: bytes) -> None:
    """It stops nothing, and whoever wants to look at it finds it."""
    (tmp_path / "history.sqlite3").write_bytes(content)
    assert paths(filled(opened(tmp_path), captioned("a.jpg"))) == ["a.jpg"]
    assert (tmp_path / "history.sqlite3").read_bytes() == content
    with looked_into(tmp_path) as looking:
        assert looking is not None and looking.last_of("a.jpg") is not None


def test_a_history_that_breaks_while_it_is_open_is_replaced(opened: Opened, tmp_path: Path) -> None:
    """A page gone bad in the middle costs the lines in it and what is asked of them, no more."""
    many = (captioned(f"{number}.jpg", f"Picture {number}.") for number in range(2000))
    filled(opened(tmp_path), *many).close()
    file = tmp_path / "history.sqlite3"
    with file.open("r+b") as opened_file:
        opened_file.seek(4096 * 2)
        opened_file.write(b"\xff" * (file.stat().st_size - 4096 * 3))
    history = filled(opened(tmp_path), *(captioned(f"new/{number}.jpg") for number in range(3)))
    assert paths(history, limit=2) == ["new/2.jpg", "new/1.jpg"]
    assert {entry.name for entry in tmp_path.glob("*.sqlite3")} == {"history.sqlite3", "history-2.sqlite3"}


def test_without_its_folder_nothing_is_raised_by_telling(opened: Opened, tmp_path: Path) -> None:
    """Whoever tells goes on; whoever asks learns why; when the folder is back, so is the history."""
    history = filled(opened(tmp_path / "state"), captioned("lost.jpg"))
    with pytest.raises(Surroundings, match="history"):
        history.entries()
    (tmp_path / "state").mkdir()
    assert paths(filled(history, captioned("b.jpg"))) == ["b.jpg"]


def test_another_process_looks_on_and_leaves_nothing_behind(opened: Opened, tmp_path: Path) -> None:
    """While the daemon writes, after it stopped, after it was killed, and where there never was a history."""
    code = (
        "import sys; from pathlib import Path; from captiond.history import looked_into\n"
        "with looked_into(Path(sys.argv[1])) as looking:\n"
        "    print(looking and [entry.path for entry in looking.entries(search='dog')])"
    )

    def seen(folder: Path) -> str:
        before = sorted(os.listdir(folder))
        found = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
        )
        assert sorted(os.listdir(folder)) == before
        return found.stdout.strip()

    assert seen(tmp_path) == "None"
    history = filled(opened(tmp_path), captioned("a.jpg"))
    assert seen(tmp_path) == "['a.jpg']"
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("history*"):
        (killed / file.name).write_bytes(file.read_bytes())
    history.close()
    assert sorted(os.listdir(tmp_path)) == ["history.sqlite3", "killed"]
    assert seen(tmp_path) == "['a.jpg']"
    assert seen(killed) == "['a.jpg']"


def test_a_history_that_may_only_be_read_can_be_read(opened: Opened, tmp_path: Path) -> None:
    """`status` of another user, who may look and not write."""
    filled(opened(tmp_path), captioned("a.jpg")).close()
    file = tmp_path / "history.sqlite3"
    before = file.read_bytes()
    with looked_into(tmp_path) as looking:
        assert looking is not None and looking.counts() == {"done": 1, "failed": 0, "needs_look": 0}
        with pytest.raises(Surroundings):
            looking._do(lambda connection: connection.execute("DELETE FROM pictures"))
    assert file.read_bytes() == before


def test_a_state_folder_that_is_cleared_under_a_running_daemon_costs_the_history(tmp_path: Path) -> None:
    """Every picture is delivered once all the same, and the history goes on from there."""

    def known() -> list[str]:
        with looked_into(tmp_path / "state") as looking:
            return [entry.path for entry in looking.entries()] if looking is not None else []

    with FakeChatServer() as server:
        model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        place = Place(tmp_path, {"model": model})
        with place.running() as daemon:
            place.drop(JPEG, "one.jpg")
            daemon.until(lambda: known() == ["one.jpg"])
            for file in (tmp_path / "state").glob("*.sqlite3*"):
                file.unlink()
            place.drop(JPEG, "two.jpg")
            daemon.until(lambda: known() == ["two.jpg"])
        assert {file.name for file in place.done.glob("*.jpg")} == {"one.jpg", "two.jpg"}
        assert place.left_in_inbox() == [] and len(server.seen) == 4  # two of them to see whether it sees


def test_a_foreign_database_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    """Tables of other columns are somebody's, and not ours to write into."""
    foreign = sqlite3.connect(tmp_path / "history.sqlite3")
    foreign.execute("CREATE TABLE pictures (something TEXT)")
    foreign.close()
    assert paths(filled(opened(tmp_path), captioned("a.jpg"))) == ["a.jpg"]
    assert (tmp_path / "history-2.sqlite3").exists()
