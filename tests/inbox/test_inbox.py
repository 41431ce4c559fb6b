"""The inbox as a whole: real files, real threads."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from watchdog.observers import Observer

from captiond.errors import Surroundings
from captiond.inbox import watch
from captiond.inbox.ignore import Ignore
from inbox.making import PNG, Taker, an_inbox, encoded, explained, motion_photo, picture, put, taking, until


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
        assert until(lambda: inbox.counts().ignored == 0 and inbox.has_looked_everywhere)
        delays = []
        for number in range(3):
            renamed_at = time.monotonic()
            path = f"{where}{number}.png"
            elsewhere = box.parent / "elsewhere"
            elsewhere.write_bytes(PNG)
            elsewhere.rename(box / path)
            assert until(partial(taker.times.__contains__, path))
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
            assert until(lambda: explained(inbox, "a.png").startswith("held by a writer"))
            put(box / "later.png")
            assert until(lambda: taker.paths == ["later.png"]), "what nobody holds goes by"
        closed_at = time.monotonic()
        assert until(lambda: taker.paths == ["later.png", "a.png"])
        assert taker.times["a.png"] - closed_at < 1.0
        assert taker.taken[1].fingerprint.size == len(PNG) + len(data)


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
        cut_short = "not whole yet (PNG data is cut short); given up in"
        assert until(lambda: cut_short in explained(inbox, "cut.png"))
        assert until(lambda: "not whole yet (it is empty); given up in" in explained(inbox, "empty.jpg"))
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
        put(box / "later.png")
        assert until(lambda: "later.png" in taker.times)
        assert len(taker.paths) == len(set(taker.paths)) == 2001
        # The last one is taken a moment before its taker has done with it.
        assert until(
            lambda: (inbox.counts().waiting, inbox.counts().settling, inbox.counts().in_work) == (0, 0, 0)
        )


def test_any_name_is_given_out(box: Path) -> None:
    """Names that are not UTF-8, with a line break or of 255 bytes are noticed and given out like others."""
    names = [b"\xff\xfe\x80.jpg", b"a\nb.jpg", b"x" * 251 + b".jpg", os.fsencode("ü" * 120 + ".jpg")]
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
        assert explained(inbox, "link.png") == "ignored: a link, and links are never followed"
        assert explained(inbox, "fifo.png") == "ignored: a FIFO"
        assert explained(inbox, "s.png") == "ignored: a socket"
        assert explained(inbox, "folder/secret.png") == "not there"


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
        assert until(lambda: inbox.has_looked_everywhere and inbox.watch_state.method == "native")
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
        put(box / "later.png")
        assert until(lambda: taker.paths == ["a.png", "later.png"])
        assert explained(inbox, "a.png") == "in work"
        inbox.release("a.png", after_seconds=0.5)
        released_at = time.monotonic()
        assert explained(inbox, "a.png").startswith("tried again in")
        assert until(lambda: taker.paths[2:] == ["a.png"])
        assert taker.times["a.png"] - released_at >= 0.5
        inbox.done("a.png")
        assert until(lambda: len(taker.paths) == 4), "what lies there after `done` is a new file"


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
        assert until(lambda: inbox.has_looked_everywhere)
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

    class Refused(Observer):  # type: ignore[misc, valid-type]
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
    monkeypatch.setattr(watch, "watched_folders", lambda: 3)
    with taking(box, rescan_seconds=0.2) as (inbox, _):
        assert until(lambda: inbox.watch_state.degraded is not None)
        assert str(inbox.watch_state.degraded).startswith("3 of 6 folders are watched")


def test_the_kernel_tells_how_many_folders_are_watched(box: Path) -> None:
    """The count of watched folders is the kernel's own."""
    before = watch.watched_folders() or 0
    for number in range(5):
        (box / f"f{number}").mkdir()
    with taking(box) as _:
        assert (watch.watched_folders() or 0) - before == 7  # with the inbox itself and .captiond


def test_lost_events_are_made_up_for_and_counted(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hints do not tell, the full scan finds; it is counted."""
    monkeypatch.setattr("captiond.inbox.survey._GRACE_SECONDS", 0.1)
    with taking(box, rescan_seconds=0.3) as (inbox, taker):
        assert until(lambda: inbox.has_looked_everywhere)
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
    inbox = an_inbox(box, settle_seconds=0.1, ignore=Ignore(["draft*"]))
    inbox.start()
    stop = threading.Event()
    try:
        for name in ("a.png", "b.png", "c.png", "draft.png", "notes.txt"):
            (box / name).write_bytes(PNG)
            os.utime(box / name, (ord(name[0]), ord(name[0])))
        (box / "@eaDir").mkdir()
        (box / "@eaDir" / "t.jpg").write_bytes(PNG)
        assert explained(inbox, "a.png") == "complete, and not looked at yet"
        taken = inbox.settled(stop)
        assert next(taken).path == "a.png"
        assert explained(inbox, "a.png") == "in work"
        deadline = time.monotonic() + 10.0
        while "settling" in explained(inbox, "c.png") and time.monotonic() < deadline:
            time.sleep(0.01)  # it was written after a.png: a little, or on a busy machine more
        assert explained(inbox, "b.png") == "waiting, next in line"
        assert explained(inbox, "c.png") == "waiting behind 1"
        assert explained(inbox, "draft.png") == "ignored: your pattern 'draft*'"
        assert explained(inbox, "notes.txt") == "ignored: not an image by its name"
        assert explained(inbox, "@eaDir/t.jpg") == "ignored: thumbnails of a NAS box"
        assert explained(inbox, "nothing.png") == "not there"
        assert explained(inbox, "../outside.png") == "not there"
        assert explained(inbox, "@eaDir") == "ignored: a folder"
        counts = inbox.counts()
        assert (counts.waiting, counts.in_work, counts.ignored) == (2, 1, 3)
    finally:
        inbox.close()


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


def test_the_urgent_are_handed_out_first_and_nothing_while_held(box: Path) -> None:
    """Whatever else waits, and however it is said: at the start or while it runs."""
    for name in ("a.png", "dump/b.png", "news/c.png"):
        (box / name).parent.mkdir(exist_ok=True)
        put(box / name)
    inbox = an_inbox(box, settle_seconds=0.05, is_urgent=lambda path: path.startswith("news/"))

    def all_wait() -> bool:
        counts = inbox.counts()
        return counts.waiting + counts.in_work == 3

    try:
        inbox.start()
        taken = inbox.settled(threading.Event(), is_held=lambda: not all_wait())
        assert next(taken).path == "news/c.png" and inbox.counts().waiting == 2
        inbox.prefer(lambda path: path.startswith("dump/"))
        assert next(taken).path == "dump/b.png"
    finally:
        inbox.close()


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


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not on the PATH")
def test_a_mirror_that_removes_the_marker_does_not_stop_us(box: Path) -> None:
    """`rsync --delete` removes our marker; the folder is the same, so it is written again."""
    source = box.parent / "source"
    with taking(box, rescan_seconds=0.2) as (_, taker):
        for number in range(3):
            shutil.rmtree(source, ignore_errors=True)
            source.mkdir()
            (source / f"{number}.png").write_bytes(PNG)
            subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{box}/"], check=True)
            assert until(partial(taker.times.__contains__, f"{number}.png"))
        assert until((box / ".captiond/inbox").exists)


def test_at_a_start_the_marker_counts(box: Path) -> None:
    """Another folder at the inbox's path, without a marker, is refused while we run; a start marks it."""
    with taking(box, keep=True) as (inbox, _):
        assert until(lambda: inbox.watch_state.degraded is None)
    assert (box / ".captiond/inbox").exists()
    inbox = an_inbox(box)
    inbox.start()
    try:
        box.rename(box.parent / "away")
        box.mkdir()
        with pytest.raises(Surroundings, match="marker"):
            next(inbox.settled(threading.Event()))
        assert list(box.iterdir()) == []
    finally:
        inbox.close()
    again = an_inbox(box)
    again.start()
    again.close()
    assert (box / ".captiond/inbox").exists()


def test_no_descriptor_is_left_behind(box: Path) -> None:
    """An inbox that was closed holds nothing of its folder."""

    def held() -> list[str]:
        links = []
        for descriptor in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(descriptor.readlink()))
            except OSError:
                continue  # the one of the listing itself
        return [link for link in links if link.startswith(str(box))]

    for _ in range(3):
        with taking(box, once=True) as (_, taker):
            taker.wait_for_end()
            assert len(held()) == 1, "one is held to know the folder again"
    assert held() == []


WITHOUT_INSTANCES = """
import ctypes, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from captiond.inbox import watch
from inbox.making import put, taking, until
watch._RETRY_SECONDS = 0.5
box = Path(sys.argv[1])
libc = ctypes.CDLL(None)
taken = []
while (descriptor := libc.inotify_init()) >= 0:
    taken.append(descriptor)
    assert len(taken) < 10
with taking(box, rescan_seconds=60.0) as (inbox, taker):
    state = inbox.watch_state
    assert state.method == "polling", state
    assert "sysctl fs.inotify.max_user_instances=" in state.degraded, state
    put(box / "trip/a.png")
    assert until(lambda: taker.paths == ["trip/a.png"], 5)
    for descriptor in taken:
        libc.close(descriptor)
    assert until(lambda: inbox.watch_state == watch.WatchState("native", None), 10), inbox.watch_state
    put(box / "trip/b.png")
    assert until(lambda: taker.paths == ["trip/a.png", "trip/b.png"], 5)
print("served")
"""


def test_no_inotify_instance_leaves_polling_and_is_tried_again(box: Path) -> None:
    """Where the user's instances are used up the inbox is polled; when one is free, events come again."""
    limited = 'echo 2 > /proc/sys/user/max_inotify_instances && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("user namespaces with limits of their own are not permitted")
    tests = str(Path(__file__).parents[1])
    run = subprocess.run(
        [*command, sys.executable, "-c", WITHOUT_INSTANCES, box, tests],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout == "served\n", run.stderr


def test_too_many_open_files_are_told_from_too_few_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE means the limit of open files where nothing else can be opened either."""
    trouble = OSError(errno.EMFILE, "inotify instance limit reached")
    assert "fs.inotify.max_user_instances" in watch.why_not(trouble)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        told = watch.why_not(trouble)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "ulimit -n" in told and "instances" not in told


def test_what_is_called_unfinished_waits_for_its_end(box: Path) -> None:
    """A picture beside its control file is not given out, is explained, and comes when it is done."""
    (box / "big.png").write_bytes(PNG)
    (box / "big.png.aria2").write_bytes(b"\0\1")
    (box / "cloud.png").write_bytes(PNG)
    (box / "cloud.png.ocTransferId1234567.part").write_bytes(PNG[:40])
    (box / "other.png").write_bytes(PNG)
    fresh = an_inbox(box)
    assert explained(fresh, "big.png").startswith("unfinished: big.png.aria2 beside it says that aria2")
    assert "Nextcloud" in explained(fresh, "cloud.png")
    with taking(box, settle_seconds=0.1) as (inbox, taker):
        assert until(lambda: taker.paths == ["other.png"])
        assert until(lambda: "aria2 has not finished" in explained(inbox, "big.png"))
        assert until(lambda: "Nextcloud or ownCloud has not finished" in explained(inbox, "cloud.png"))
        assert explained(inbox, "big.png.aria2") == "ignored: unfinished download"
        assert inbox.counts().incomplete == inbox.counts().settling == 2
        put(box / "later.png")
        assert until(lambda: taker.paths == ["other.png", "later.png"])
        (box / "big.png.aria2").unlink()
        (box / "cloud.png.ocTransferId1234567.part").unlink()
        assert until(lambda: sorted(taker.paths[2:]) == ["big.png", "cloud.png"], 8)


def test_once_does_not_wait_for_what_is_left_over(box: Path) -> None:
    """A control file that nothing has happened to for long holds no `--once` up; its picture stays."""
    (box / "big.png").write_bytes(PNG)
    (box / "big.png.aria2").write_bytes(b"\0\1")
    with taking(box, once=True, settle_seconds=0.1, incomplete_after_seconds=0.5) as (inbox, taker):
        taker.wait_for_end()
        assert taker.taken == []
        assert "remove that name if it is left over" in explained(inbox, "big.png")


def test_where_nobody_can_tell_of_writers_it_takes_longer(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system says nothing of writers the longer wait counts, and a close adds nothing."""
    monkeypatch.setattr("captiond.inbox.mounts.is_silent", lambda _: True)
    with taking(box, method="native", settle_seconds=0.1, settle_untold_seconds=1.0) as (inbox, taker):
        (box / "a.png").write_bytes(PNG)
        written_at = time.monotonic()
        assert until(lambda: "nobody can tell whether a program" in explained(inbox, "a.png"))
        assert until(lambda: taker.paths == ["a.png"])
        assert 1.0 <= taker.times["a.png"] - written_at < 2.5


def test_a_stalled_upload_of_a_motion_photo_is_waited_for(box: Path) -> None:
    """A picture whose film is still on its way is not given out at the picture's end."""
    data = motion_photo()
    half = data.index(b"ftyp") + 1000
    path = box / "a.jpg"
    with taking(box, settle_seconds=0.1) as (inbox, taker):
        path.write_bytes(data[:half])
        assert until(lambda: "its headers promise" in explained(inbox, "a.jpg"))
        put(box / "later.png")
        assert until(lambda: taker.paths == ["later.png"])
        with path.open("ab") as file:
            file.write(data[half:])
        assert until(lambda: taker.paths == ["later.png", "a.jpg"])
        assert taker.taken[1].fault is None and taker.taken[1].notices == ()


def test_a_picture_without_its_promised_film_is_given_out_with_a_notice(box: Path) -> None:
    """Where only the words about the film are left, the picture waits briefly and is then served."""
    data = motion_photo()
    (box / "edited.jpg").write_bytes(data[: data.index(b"\xff\xd9") + 2])
    with taking(box, settle_seconds=0.1, settle_untold_seconds=0.6) as (_, taker):
        assert until(lambda: taker.paths == ["edited.jpg"])
        assert taker.taken[0].fault is None
        assert [notice.code for notice in taker.taken[0].notices] == ["perhaps_not_whole"]


def test_a_file_of_too_many_parts_holds_nobody_up(box: Path) -> None:
    """A TIFF that would take minutes to look into is given out at once with its fault, the others as ever."""
    entry = struct.pack("<HHII", 273, 4, 500_000, 8 + 2 + 12 * 20_000 + 4)
    bomb = b"II*\0" + struct.pack("<IH", 8, 20_000) + entry * 20_000 + bytes(4) + bytes(4 * 500_000)
    for number in range(10):
        put(box / f"bomb{number}.tif", bomb)
        put(box / f"{number}.png")
    began = time.monotonic()
    with taking(box, settle_seconds=0.1) as (_, taker):
        assert until(lambda: len(taker.taken) == 20)
        assert time.monotonic() - began < 4.0
    kinds = {settled.path: settled.fault and settled.fault.kind for settled in taker.taken}
    assert {kind for path, kind in kinds.items() if path.endswith(".tif")} == {"too_complex"}
    assert {kind for path, kind in kinds.items() if path.endswith(".png")} == {None}


def test_what_is_no_picture_is_told_at_once_and_half_a_picture_waits(box: Path) -> None:
    """Content decides: a page under a picture's name is told at once, half a picture waits for its rest."""
    put(box / "saved-page.jpg", b"<html>404</html>\n")
    put(box / "bad.jpg", b"nope\n")
    put(box / "film.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(5000))
    put(box / "half.jpg", motion_photo()[:9000])
    with taking(box, settle_seconds=0.1) as (inbox, taker):
        assert until(lambda: len(taker.taken) == 3)
        told = {settled.path: settled.fault and settled.fault.message for settled in taker.taken}
        assert told == {
            "saved-page.jpg": "it is an HTML page, not a picture",
            "bad.jpg": "it is a text, not a picture",
            "film.jpg": "it is an MP4 film, not a picture",
        }
        assert until(lambda: "not whole yet (JPEG data" in explained(inbox, "half.jpg"))
        assert inbox.counts().incomplete == 1


class Stalling(BaseHTTPRequestHandler):
    """A server that sends the second half of a picture when it is told to."""

    data = encoded("BMP", picture(400, 300))
    go_on = threading.Event()

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        half = max(len(self.data) // 2, start)
        try:
            self.wfile.write(self.data[start:half])
            self.go_on.wait(30)
            self.wfile.write(self.data[half:])
        except OSError:
            pass  # the download was stopped

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(shutil.which("aria2c") is None, reason="aria2c is not on the PATH")
def test_a_real_preallocating_download_is_waited_for(box: Path) -> None:
    """aria2 makes a file as long as it will be; stopped in the middle, nobody holds it any more."""
    Stalling.go_on.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/big.bmp"
    allocating = ["--file-allocation=prealloc", "--no-file-allocation-limit=0"]
    command = ["aria2c", "--no-conf", *allocating, "-q", "-s1", "-x1", f"--dir={box}", address]
    try:
        with taking(box, settle_seconds=0.2) as (inbox, taker):
            with subprocess.Popen(command) as first:
                assert until((box / "big.bmp.aria2").exists)
                assert until(lambda: (box / "big.bmp").stat().st_size == len(Stalling.data))
                time.sleep(0.5)
                first.terminate()
            assert (box / "big.bmp.aria2").exists(), "aria2 keeps it for the next try"
            assert until(lambda: "aria2 has not finished" in explained(inbox, "big.bmp"))
            put(box / "later.png")
            assert until(lambda: taker.paths == ["later.png"])
            Stalling.go_on.set()
            subprocess.run([*command, "--continue=true", "--allow-overwrite=true"], check=True, timeout=30)
            assert until(lambda: taker.paths == ["later.png", "big.bmp"])
    finally:
        Stalling.go_on.set()
        server.shutdown()
        server.server_close()
