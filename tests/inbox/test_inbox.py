"""The inbox as a whole: real files, real threads."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from captiond.errors import Surroundings
from captiond.inbox import watch
from inbox.making import PNG, Taker, an_inbox, picture, put, taking, until


@pytest.fixture
def box(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    root.mkdir()
    return root


def test_what_lies_there_at_start_obeys_the_same_rule(box: Path) -> None:
    """A file that is there at start is given out once it was seen to be quiet, not before."""
    (box / "a.png").write_bytes(PNG)
    began = time.monotonic()
    with taking(box, settle_seconds=0.3) as (inbox, taker):
        assert until(lambda: taker.paths == ["a.png"])
        assert 0.3 <= taker.times["a.png"] - began < 2.0
        assert taker.taken[0].fault is None
        assert inbox.counts().in_work == 0


@pytest.mark.parametrize("where", ["", "trip/", "trip/deep/er/"])
def test_a_file_renamed_in_is_noticed_at_once(box: Path, where: str) -> None:
    """Renamed into the inbox or an old folder of it, a file is given out within `settle_seconds` + 0.25 s."""
    (box / where).mkdir(parents=True, exist_ok=True)
    with taking(box, settle_seconds=0.3) as (inbox, taker):
        assert until(lambda: inbox.counts().ignored == 0 and inbox._survey.is_complete)
        delays = []
        for number in range(3):
            renamed_at = time.monotonic()
            path = f"{where}{number}.png"
            elsewhere = box.parent / "elsewhere"
            elsewhere.write_bytes(PNG)
            elsewhere.rename(box / path)
            assert until(lambda path=path: path in taker.times)
            delays.append(taker.times[path] - renamed_at)
        assert min(delays) >= 0.3
        assert sorted(delays)[1] <= 0.3 + 0.25, "the middle one of three, since machines are busy at times"
        assert inbox.counts().missed_events == 0


def test_a_slow_copy_is_given_out_when_it_is_complete(box: Path) -> None:
    """While somebody writes, however slowly, nothing is given out; when the writer lets go, it is."""
    data = Path(__file__).read_bytes()
    with taking(box, settle_seconds=0.2) as (inbox, taker):
        with (box / "a.png").open("wb", buffering=0) as file:
            for part in (PNG[:20], PNG[20:50]):
                file.write(part)
                time.sleep(0.4)
            file.write(PNG[50:] + data)
            assert until(lambda: inbox.explain("a.png").startswith("held by a writer"))
            time.sleep(0.3)
            assert taker.paths == []
        closed_at = time.monotonic()
        assert until(lambda: taker.paths == ["a.png"])
        assert taker.times["a.png"] - closed_at < 1.0
        assert taker.taken[0].fingerprint.size == len(PNG) + len(data)


def test_a_file_that_grows_is_left_to_grow(box: Path) -> None:
    """Without a writer that holds it, a growing file is given out only after its quiet time."""
    with taking(box, settle_seconds=0.4) as (_, taker):
        for part in range(6):
            with (box / "a.png").open("ab") as file:
                file.write(PNG if part == 0 else b"x")
            time.sleep(0.15)
        grown_at = time.monotonic()
        assert taker.paths == []
        assert until(lambda: taker.paths == ["a.png"])
        assert taker.times["a.png"] - grown_at > 0.2


def test_a_cut_file_waits_for_its_rest_and_is_then_given_up(box: Path) -> None:
    """A truncated file waits `incomplete_after_seconds` and is then given out with the reason."""
    (box / "cut.png").write_bytes(PNG[:40])
    (box / "empty.jpg").write_bytes(b"")
    (box / "late.png").write_bytes(PNG[:40])
    with taking(box, settle_seconds=0.1, incomplete_after_seconds=1.0) as (inbox, taker):
        assert until(lambda: "not whole yet (PNG data is cut short); given up in" in inbox.explain("cut.png"))
        assert until(lambda: "not whole yet (it is empty); given up in" in inbox.explain("empty.jpg"))
        assert until(lambda: inbox.counts().settling == 3)
        (box / "late.png").write_bytes(PNG)
        assert until(lambda: len(taker.taken) == 3)
        reasons = {settled.path: settled.fault and settled.fault.message for settled in taker.taken}
        assert reasons == {
            "cut.png": "the file never became whole: PNG data is cut short",
            "empty.jpg": "the file never became whole: it is empty",
            "late.png": None,
        }


def test_a_folder_moved_in_comes_with_all_that_is_in_it(box: Path) -> None:
    """A tree that is moved in as a whole, or copied in bit by bit, is given out as a whole."""
    with taking(box) as (inbox, taker):
        elsewhere = box.parent / "elsewhere"
        expected = set()
        for folder in ("", "b/", "b/c/", "d/e/f/"):
            (elsewhere / folder).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                (elsewhere / f"{folder}{number}.png").write_bytes(PNG)
                expected |= {f"moved/{folder}{number}.png", f"copied/{folder}{number}.png"}
        shutil.copytree(elsewhere, box / "copied")
        elsewhere.rename(box / "moved")
        assert until(lambda: set(taker.paths) == expected, 5)
        assert len(taker.paths) == len(expected)
        assert inbox.counts().missed_events == 0


def test_a_burst_is_given_out_exactly_once(box: Path) -> None:
    """Of 2,000 files that come at once, none is lost and none comes twice."""
    with taking(box, settle_seconds=0.1, rescan_seconds=1.0) as (inbox, taker):
        for number in range(2000):
            folder = box / f"f{number % 7}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.png").write_bytes(PNG)
        assert until(lambda: len(taker.taken) >= 2000, 20)
        time.sleep(0.3)
        assert len(taker.paths) == len(set(taker.paths)) == 2000
        counts = inbox.counts()
        assert (counts.waiting, counts.settling, counts.in_work) == (0, 0, 0)


def test_any_name_is_given_out(box: Path) -> None:
    """Names that are not UTF-8, with a line break or of 255 bytes are noticed and given out like others."""
    names = [b"\xff\xfe\x80.jpg", b"a\nb.jpg", b"x" * 251 + b".jpg", "ü" * 120 + ".jpg"]
    names = [os.fsencode(name) for name in names]
    with taking(box) as (_, taker):
        for name in names:
            put(box / os.fsdecode(b"\xe9t\xe9/" + name))
        expected = {os.fsdecode(b"\xe9t\xe9/" + name) for name in names}
        assert until(lambda: set(taker.paths) == expected)


def test_what_is_no_regular_file_is_ignored(box: Path) -> None:
    """Links, FIFOs and sockets are counted and explained, never opened, and hold nothing up."""
    outside = box.parent / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(PNG)
    (box / "link.png").symlink_to(outside / "secret.png")
    (box / "folder").symlink_to(outside)
    os.mkfifo(box / "fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(box / "s.png"))
        with taking(box, once=True) as (inbox, taker):
            taker.wait_for_end()
        assert taker.taken == []
        assert inbox.counts().ignored == 4
        assert inbox.explain("link.png") == "ignored: a link, and links are never followed"
        assert inbox.explain("fifo.png") == "ignored: a FIFO"
        assert inbox.explain("s.png") == "ignored: a socket"
        assert "secret" not in inbox.explain("folder/secret.png")


def test_an_inbox_that_goes_and_comes_back(box: Path) -> None:
    """When the inbox is gone everything pauses; when it is back with its marker, work goes on."""
    inbox = an_inbox(box)
    inbox.start()
    stop = threading.Event()
    try:
        (box / "a.png").write_bytes(PNG)
        assert next(inbox.settled(stop)).path == "a.png"
        box.rename(box.parent / "away")
        with pytest.raises(Surroundings, match="is gone"):
            next(inbox.settled(stop))
        box.mkdir()
        with pytest.raises(Surroundings, match="marker"):
            next(inbox.settled(stop))
        assert list(box.iterdir()) == [], "nothing is created in a bare mount point"
        assert inbox.counts().in_work == 1
        box.rmdir()
        (box.parent / "away").rename(box)
        (box / "b.png").write_bytes(PNG)
        assert next(inbox.settled(stop)).path == "b.png"
        inbox.done("a.png")
        inbox.done("b.png")
    finally:
        inbox.close()


def test_events_come_again_from_a_new_inbox(box: Path) -> None:
    """After the inbox was removed and made anew, the watcher watches the new one."""
    inbox = an_inbox(box)
    inbox.start()
    stop = threading.Event()
    try:
        shutil.rmtree(box)
        with pytest.raises(Surroundings):
            next(inbox.settled(stop))
        (box / ".captiond").mkdir(parents=True)
        (box / ".captiond" / "inbox").touch()
        taker = Taker(inbox, box)
        taker.start()
        assert until(lambda: inbox._survey.is_complete and inbox.watch_state.method == "native")
        time.sleep(1.2)
        put(box / "a.png")
        assert until(lambda: taker.paths == ["a.png"], 5), inbox.watch_state
        taker.stop()
    finally:
        inbox.close()


def test_start_needs_the_inbox_and_writes_only_its_marker(box: Path) -> None:
    """Start marks the inbox and writes nothing else; without a folder it says so."""
    inbox = an_inbox(box)
    inbox.start()
    inbox.close()
    assert [path.relative_to(box).as_posix() for path in sorted(box.rglob("*"))] == [
        ".captiond",
        ".captiond/inbox",
    ]
    again = an_inbox(box)
    again.start()
    again.close()
    with pytest.raises(Surroundings, match="is gone"):
        an_inbox(box / "missing").start()


def test_a_file_touched_while_in_work_is_not_given_out_twice(box: Path) -> None:
    """It comes again only after it was released, and only once it is quiet again."""
    (box / "a.png").write_bytes(PNG)
    with taking(box, keep=True) as (inbox, taker):
        assert until(lambda: taker.paths == ["a.png"])
        for _ in range(3):
            (box / "a.png").write_bytes(PNG + b"more")
            time.sleep(0.15)
        time.sleep(0.4)
        assert taker.paths == ["a.png"]
        assert inbox.explain("a.png") == "in work"
        inbox.release("a.png", after_seconds=0.5)
        released_at = time.monotonic()
        assert inbox.explain("a.png").startswith("tried again in")
        assert until(lambda: len(taker.paths) == 2)
        assert taker.times["a.png"] - released_at >= 0.5
        inbox.done("a.png")
        assert until(lambda: len(taker.paths) == 3), "what lies there after `done` is a new file"


def test_once_ends_when_the_inbox_is_empty(box: Path) -> None:
    """With `once` it ends when nothing waits, settles or is in work, and not while something is."""
    for number in range(5):
        put(box / f"trip/{number}.png")
    (box / "notes.txt").write_text("stays")
    with taking(box, once=True, keep=True) as (inbox, taker):
        assert until(lambda: len(taker.taken) == 5)
        time.sleep(0.4)
        assert taker._thread.is_alive()
        for path in taker.paths:
            (box / path).unlink()
            inbox.done(path)
        taker.wait_for_end(2)
    assert inbox.counts().ignored == 1


def test_a_dead_watcher_is_noticed_and_replaced(box: Path) -> None:
    """When a thread of the watcher ends, that is said, and files are noticed all the same."""
    with taking(box, rescan_seconds=60.0) as (inbox, taker):
        assert until(lambda: inbox._survey.is_complete)
        observer = inbox._watcher._observer
        assert observer is not None
        for emitter in observer.emitters:
            emitter.stop()
        (box / "a.png").write_bytes(PNG)
        assert until(lambda: inbox.watch_state.degraded is not None)
        assert until(lambda: taker.paths == ["a.png"], 5)
        (box / "b.png").write_bytes(PNG)
        assert until(lambda: taker.paths == ["a.png", "b.png"], 5)
        assert inbox.watch_state.degraded is None


def test_a_watcher_that_cannot_start_leaves_polling(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without inotify the inbox is polled, and it is said why."""

    class Refused(watch.Observer):  # type: ignore[misc, valid-type]
        def schedule(self, *_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(watch, "Observer", Refused)
    with taking(box, rescan_seconds=60.0) as (inbox, taker):
        assert inbox.watch_state.method == "polling"
        assert "max_user_watches" in str(inbox.watch_state.degraded)
        put(box / "trip/a.png")
        assert until(lambda: taker.paths == ["trip/a.png"], 2)


def test_unwatched_folders_are_noticed(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel watches fewer folders than there are, that is said and scanning makes up for it."""
    for number in range(5):
        (box / f"f{number}").mkdir()
    monkeypatch.setattr(watch, "_watched_folders", lambda: 3)
    with taking(box, rescan_seconds=0.2) as (inbox, _):
        assert until(lambda: inbox.watch_state.degraded is not None)
        assert str(inbox.watch_state.degraded).startswith("3 of 6 folders are watched")


def test_the_kernel_tells_how_many_folders_are_watched(box: Path) -> None:
    """The count of watched folders is the kernel's own."""
    before = watch._watched_folders() or 0
    for number in range(5):
        (box / f"f{number}").mkdir()
    with taking(box) as _:
        assert (watch._watched_folders() or 0) - before == 7  # with the inbox itself and .captiond


def test_lost_events_are_made_up_for_and_counted(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hints do not tell, the full scan finds; it is counted."""
    monkeypatch.setattr("captiond.inbox.survey._GRACE_SECONDS", 0.1)
    with taking(box, rescan_seconds=0.3) as (inbox, taker):
        assert until(lambda: inbox._survey.is_complete)
        monkeypatch.setattr(inbox._watcher, "_heard", lambda *_, **__: None)
        observer = inbox._watcher._observer
        assert observer is not None
        observer.unschedule_all()
        monkeypatch.setattr(watch, "_is_alive", lambda _: True)
        (box / "a.png").write_bytes(PNG)
        assert until(lambda: taker.paths == ["a.png"])
        (box / "trip").mkdir()
        (box / "trip/b.png").write_bytes(PNG)
        assert until(lambda: inbox.counts().missed_events >= 1)


def test_polling_needs_no_watcher(box: Path) -> None:
    """With `method: polling` there is no thread of a watcher, and files are found by scanning."""
    before = threading.active_count()
    with taking(box, method="polling") as (inbox, taker):
        assert threading.active_count() == before + 1
        assert inbox.watch_state == watch.WatchState("polling", None)
        put(box / "trip/a.png")
        assert until(lambda: taker.paths == ["trip/a.png"], 2)
        assert inbox.counts().missed_events == 0


def test_a_stop_is_seen_soon(box: Path) -> None:
    """A stop ends the waiting without a file having to come."""
    with taking(box) as (_, taker):
        time.sleep(0.2)
        began = time.monotonic()
        taker.stop()
        assert time.monotonic() - began < 1.0


def test_a_file_is_explained_wherever_it_stands(box: Path) -> None:
    """For each file there is one line that says why it is still there."""
    inbox = an_inbox(box, settle_seconds=0.1, ignore=["draft*"])
    inbox.start()
    stop = threading.Event()
    try:
        for name in ("a.png", "b.png", "c.png", "draft.png", "notes.txt"):
            (box / name).write_bytes(PNG)
            os.utime(box / name, (ord(name[0]), ord(name[0])))
        (box / "@eaDir").mkdir()
        (box / "@eaDir" / "t.jpg").write_bytes(PNG)
        assert inbox.explain("a.png") == "complete, and not looked at yet"
        taken = inbox.settled(stop)
        assert next(taken).path == "a.png"
        assert inbox.explain("a.png") == "in work"
        assert inbox.explain("b.png") == "waiting, next in line"
        assert inbox.explain("c.png") == "waiting behind 1"
        assert inbox.explain("draft.png") == "ignored: your pattern 'draft*'"
        assert inbox.explain("notes.txt") == "ignored: not an image by its name"
        assert inbox.explain("@eaDir/t.jpg") == "ignored: thumbnails of a NAS box"
        assert inbox.explain("nothing.png") == "not there"
        assert inbox.explain("../outside.png") == "not there"
        assert inbox.explain("@eaDir") == "ignored: a folder"
        counts = inbox.counts()
        assert (counts.waiting, counts.in_work, counts.ignored) == (2, 1, 3)
    finally:
        inbox.close()


def test_a_file_is_opened_beneath_the_inbox_only(box: Path) -> None:
    """`open` follows no link and leaves no folder; a missing inbox is told from a missing file."""
    inbox = an_inbox(box)
    (box / "trip").mkdir()
    (box / "trip/a.png").write_bytes(PNG)
    (box / "link.png").symlink_to("trip/a.png")
    descriptor = inbox.open("trip/a.png")
    assert os.pread(descriptor, 1000, 0) == PNG
    os.close(descriptor)
    for path, error in (("link.png", OSError), ("../x.png", ValueError), ("b.png", FileNotFoundError)):
        with pytest.raises(error):
            inbox.open(path)
    box.rename(box.parent / "away")
    with pytest.raises(Surroundings):
        inbox.open("trip/a.png")


def test_no_turn_is_lost_to_trouble(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble with the surroundings while a file is looked into costs it nothing."""
    (box / "a.png").write_bytes(PNG)
    inbox = an_inbox(box, settle_seconds=0.0)
    inbox.start()
    try:

        def no_more_files(*_: object, **__: object) -> None:
            raise Surroundings("Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr("captiond.inbox.look_into", no_more_files)
            with pytest.raises(Surroundings):
                next(inbox.settled(threading.Event()))
        assert next(inbox.settled(threading.Event())).path == "a.png"
    finally:
        inbox.close()


def test_the_folders_take_turns_in_the_real_inbox(box: Path) -> None:
    """One picture beside a dump of many is among the first to be given out."""
    for number in range(200):
        put(box / "dump" / f"{number}.png")
    (box / "other").mkdir()
    picture(8, 8).save(box / "other/late.png")
    with taking(box, settle_seconds=0.1) as (_, taker):
        assert until(lambda: len(taker.taken) == 201)
        assert taker.paths.index("other/late.png") <= 1


def test_a_crowd_does_not_keep_the_first_waiting(box: Path) -> None:
    """Of many files in one folder the first is given out while most are still to be looked at again."""
    names = {f"{number}.png" for number in range(1000)}
    for name in names:
        (box / name).write_bytes(PNG)
    inbox, stop = an_inbox(box, settle_seconds=0.05, method="polling"), threading.Event()
    inbox.start()
    taken: list[str] = []
    for settled in inbox.settled(stop, once=True):
        assert taken or inbox.counts().settling > len(names) / 2
        taken.append(settled.path)
        (box / settled.path).unlink()
        inbox.done(settled.path)
    assert len(taken) == len(names) and set(taken) == names
    inbox.close()
