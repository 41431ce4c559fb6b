"""Promises about what lies beside a picture: it travels with it, whole, or stays where it is."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from delivery_world import MOVES, STAMP, WORDS, World, embed, embed_beside, record_for, users_files
from test_recovery import (
    COMMITTING,
    MARKING,
    SHOWING_THE_IMAGE,
    TAKING_THE_ORIGINAL,
    WRITING_THE_CLAIM,
    crashing,
)

from captiond.delivery import claims, companions, moves, retry
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.records import Delivered, Described, Notes, Texts
from captiond.sidecar.companions import pictures_of, tails

TAIL = "~" + hashlib.sha256(b"a picture").hexdigest()[:8]
BESIDE = {
    "trip/photo.jpg.xmp": b"<x/>",
    "trip/photo.AAE": b"an edit",
    "trip/photo.NEF": b"a raw file",
    "trip/photo.NEF.xmp": b"what a raw converter did",
    "trip/photo.MOV": b"a film",
    "trip/photo.jpg.suppl.json": b"{}",
}


@pytest.fixture(params=list(MOVES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World.at(tmp_path, move=MOVES[request.param])


def drop_all(world: World, path: str = "trip/photo.jpg") -> None:
    world.drop(path)
    for beside, data in BESIDE.items():
        world.drop_beside(beside, data)


@pytest.mark.parametrize(
    "name",
    [
        "photo.jpg.xmp",
        "photo.xmp",
        "photo.jpg.json",
        "photo.jpg.supplemental-metadata.json",
        "photo.jpg.suppl.json",
        "photo.c2pa",
        "photo.jpg.C2PA",
        "photo.AAE",
        "photo.aaE",
        "photo.CR3",
        "photo.dng",
        "photo.mov",
        "photo.MP4",
    ],
)
def test_it_travels_with_its_picture(tmp_path: Path, name: str) -> None:
    """What phones, cameras, photo managers and Takeout put beside a picture lies beside it in done/."""
    world = World.at(tmp_path)
    world.drop_beside(f"trip/{name}", b"beside")
    with world.opened() as delivery:
        world.caption(delivery, world.drop("trip/photo.jpg"))
    told = json.loads((world.done / "trip/photo.jpg.caption.json").read_bytes())["companions"]
    assert told == [
        {"name": name, "sha256": hashlib.sha256(b"beside").hexdigest(), "bytes": 6, "action": "moved"}
    ]
    assert users_files(world.done) == sorted(
        [f"trip/{name}", "trip/photo.jpg", "trip/photo.jpg.caption.json"]
    )
    world.check_quiet()


def test_what_belongs_to_no_picture_stays(tmp_path: Path) -> None:
    """Other names, links, FIFOs and folders are no companions; a text is one only where texts are written."""
    world = World.at(tmp_path)
    for name in ("photo.txt", "photo.doc", "photo2.xmp", "photo.json", "photo.jpg.xmp.bak"):
        world.drop_beside(name, b"beside")
    (world.inbox / "photo.jpg.xmp").symlink_to(world.inbox / "photo.txt")
    os.mkfifo(world.inbox / "photo.AAE")
    (world.inbox / "photo.MOV").mkdir()
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert users_files(world.done) == ["photo.jpg", "photo.jpg.caption.json"]
    assert len(users_files(world.inbox)) == 7
    assert (world.inbox / "photo.MOV").is_dir()


def test_all_are_renamed_alike(world: World) -> None:
    """Where one of the names is taken, the picture and all that is its own get another together."""
    drop_all(world)
    (world.done / "trip").mkdir()
    (world.done / "trip/photo.MOV").write_bytes(b"somebody's")
    with world.opened() as delivery:
        assert world.caption(delivery, world.settled("trip/photo.jpg")).path == f"trip/photo{TAIL}.jpg"
    assert (world.done / "trip/photo.MOV").read_bytes() == b"somebody's"
    (world.done / "trip/photo.MOV").unlink()
    assert {path for path in users_files(world.done) if "caption" not in path} == {
        path.replace("photo", f"photo{TAIL}") for path in ("trip/photo.jpg", *BESIDE)
    }
    world.check_quiet()


def test_a_name_taken_at_the_last_moment_moves_all(tmp_path: Path) -> None:
    """Whoever takes a companion's name while it is delivered keeps it; nothing is left under the others."""
    world = World.at(tmp_path)
    drop_all(world)

    def rude(source: int, name: str, target: int, new_name: str) -> None:
        if new_name == "photo.MOV":
            (world.done / "trip/photo.MOV").write_bytes(b"somebody's")
        moves.move(source, name, target, new_name)

    world.move = rude
    with world.opened() as delivery:
        assert world.caption(delivery, world.settled("trip/photo.jpg")).path == f"trip/photo{TAIL}.jpg"
    assert (world.done / "trip/photo.MOV").read_bytes() == b"somebody's"
    (world.done / "trip/photo.MOV").unlink()
    world.check_quiet()


def test_what_is_changed_before_the_sidecar_appears_is_delivered_anew(tmp_path: Path) -> None:
    """Whoever changes a picture as soon as it is shown keeps that; no sidecar appears without its picture."""
    world = World.at(tmp_path)
    drop_all(world)

    def rude(source: int, name: str, target: int, new_name: str) -> None:
        if new_name == "photo.jpg.caption.json" and not (world.done / "trip" / new_name).exists():
            (world.done / "trip/photo.jpg").write_bytes(b"turned by somebody")
            (world.done / "trip/photo.jpg.caption.json").write_bytes(b"somebody's")
        moves.move(source, name, target, new_name)

    world.move = rude
    with world.opened() as delivery:
        with pytest.raises(TryLater, match="changed what was shown"):
            world.caption(delivery, world.settled("trip/photo.jpg"))
        finished = delivery.claim(world.settled("trip/photo.jpg"))
    assert finished.path == f"trip/photo{TAIL}.jpg"
    assert (world.done / "trip/photo.jpg").read_bytes() == b"turned by somebody"
    (world.done / "trip/photo.jpg").unlink()
    (world.done / "trip/photo.jpg.caption.json").unlink()
    assert world.asked == 1
    world.check_quiet()


def test_names_that_are_long_or_not_utf8(tmp_path: Path) -> None:
    """A companion's name is shortened with its picture's, and told byte for byte."""
    world = World.at(tmp_path)
    odd, long = os.fsdecode(b"caf\xe9"), "x" * 235
    for stem in (odd, long):
        world.drop_beside(f"{stem}.jpg.supplement.json"[:255], b"{}")
        world.drop_beside(f"{stem}.AAE", b"an edit")
    with world.opened() as delivery:
        world.caption(delivery, world.drop(f"{odd}.jpg", b"odd"))
        assert world.caption(delivery, world.drop(f"{long}.jpg")).path.startswith("xxx")
    told = json.loads((world.done / f"{odd}.jpg.caption.json").read_bytes())["companions"]
    assert bytes.fromhex(told[0]["name_hex"]) == b"caf\xe9.jpg.supplement.json"
    assert not users_files(world.inbox)


def test_what_two_pictures_share_goes_with_the_first(world: World) -> None:
    """photo.jpg and photo.png have one photo.AAE: it lies in done/ once."""
    world.drop("photo.jpg")
    world.drop("photo.png", b"another picture")
    world.drop_beside("photo.AAE", b"an edit")
    with world.opened() as delivery:
        world.work_off(delivery)
    assert (world.done / "photo.AAE").exists()
    world.check_quiet()


def test_what_two_pictures_share_is_not_doubled_by_two_threads(tmp_path: Path) -> None:
    """Also where both are in work at once."""
    world = World.at(tmp_path)
    paths = [f"photo.{extension}" for extension in ("jpg", "png", "webp", "gif")]
    world.drop_beside("photo.AAE", b"an edit")
    with world.opened() as delivery:
        jobs = [world.claim(delivery, world.drop(path, path.encode())) for path in paths]
        threads = [threading.Thread(target=world.publish, args=(delivery, job)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    world.check_quiet()


def test_what_two_pictures_share_is_not_doubled_by_a_crash(tmp_path: Path) -> None:
    """After a restart the one that had taken it gets it, whichever is finished first."""
    world = World.at(tmp_path)
    world.drop_beside("photo.AAE", b"an edit")
    with world.opened() as delivery:
        first, second = (
            world.claim(delivery, world.drop(f"photo.{end}", end.encode())) for end in ("jpg", "png")
        )
        with crashing(SHOWING_THE_IMAGE):
            world.publish(delivery, first)
        with crashing(WRITING_THE_CLAIM):
            world.publish(delivery, second)
    with world.opened() as delivery:
        assert len(delivery.recover()) == 2
    assert world.asked == 2
    world.check_quiet()


def test_a_companion_is_not_kept_for_a_delivery_that_is_over(tmp_path: Path) -> None:
    """Recovering while a picture is delivered does not keep what is its own from the next of that name."""
    world = World.at(tmp_path)

    def recover_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        delivery.recover()
        moves.move(source, name, target, new_name)

    with world.opened(move=recover_meanwhile) as delivery:
        for _ in range(2):
            world.drop_beside("photo.MOV", b"a film")
            world.caption(delivery, world.drop("photo.jpg"))
            delivery.recover()
            assert users_files(world.inbox) == []


def test_it_keeps_its_attributes(world: World) -> None:
    """Time, mode, owner and extended attributes are the companion's own."""
    file = world.drop_beside("photo.MOV", b"a film")
    with suppress(OSError):
        os.setxattr(file, "user.note", b"mine")
    kept = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    file.chmod(0o640)
    os.utime(file, ns=(1, 1_234_567_890_123_456_789))
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    there = (world.done / "photo.MOV").stat()
    assert (there.st_mtime_ns, stat.S_IMODE(there.st_mode)) == (1_234_567_890_123_456_789, 0o640)
    assert {name: os.getxattr(world.done / "photo.MOV", name) for name in kept} == kept


def test_a_film_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """It is copied a piece at a time."""
    world = World.at(tmp_path)
    file = world.drop_beside("photo.MOV", b"")
    os.truncate(file, 40_000_000)
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        tracemalloc.start()
        world.publish(delivery, job)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 8_000_000
    assert (world.done / "photo.MOV").stat().st_size == 40_000_000


def test_a_large_folder_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Companions are asked for by name where many files lie together, and listed where there are few."""
    world = World.at(tmp_path)
    drop_all(world)
    with world.opened() as delivery:
        few = world.claim(delivery, world.settled("trip/photo.jpg"))
        world.publish(delivery, few)
        drop_all(world)
        monkeypatch.setattr(companions, "_FEW_NAMES_BYTES", 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", None)
            again = world.caption(delivery, world.settled("trip/photo.jpg"))
    assert (again.path, users_files(world.inbox)) == (f"trip/photo{TAIL}.jpg", [])


def test_what_somebody_wants_left_alone_stays(tmp_path: Path) -> None:
    """A pattern of watch.ignore counts for what lies beside a picture, too."""
    world = World.at(tmp_path)
    world.drop_beside("photo.MOV", b"a film")
    with world.opened(stays=lambda path: path.endswith(".MOV")) as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert users_files(world.inbox) == ["photo.MOV"]


def test_a_file_system_that_cannot_hold_a_companion_stops_no_others(tmp_path: Path) -> None:
    """A film that is too large for done/ makes its picture wait, and says what helps."""
    world = World.at(tmp_path)
    world.drop_beside("photo.MOV", b"a film")
    write = os.write

    def small(file: int, data: bytes) -> int:
        if bytes(data) == b"a film":
            raise OSError(errno.EFBIG, "File too large")
        return write(file, data)

    with world.opened() as delivery, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", small)
        with pytest.raises(TryLater, match=r"cannot hold photo\.MOV"):
            world.caption(delivery, world.drop("photo.jpg"))
        for _ in range(5):
            with pytest.raises(TryLater, match=r"cannot hold photo\.MOV"):
                delivery.claim(world.settled("photo.jpg"))
            assert delivery.recover() == []
        world.caption(delivery, world.drop("other.jpg"))
        patch.undo()
        assert isinstance(delivery.claim(world.settled("photo.jpg")), Delivered)
    world.check_quiet()


# While it is written.


def test_a_companion_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """The picture waits, uncharged and unasked about, until nobody has written for settle_seconds."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    world.drop_beside("photo.MOV", b"half a fi")
    with world.opened(settle_seconds=60.0) as delivery:
        for _ in range(5):
            with pytest.raises(TryLater, match=r"photo\.MOV, which travels with it, was changed") as later:
                delivery.claim(settled)
            assert 50 < later.value.after_seconds <= 60
        delivery._takers._now = lambda: time.time() + 61
        job = world.claim(delivery, settled)
        assert job.attempt == 1
        delivery._takers._now = lambda: time.time() - 86_400  # a clock that was set back says nothing
        world.publish(delivery, job)
    world.check_quiet()


def test_a_companion_that_somebody_holds_open_is_waited_for(tmp_path: Path) -> None:
    """However long a program pauses in the middle of writing, no part of a film is delivered."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    file = world.drop_beside("photo.MOV", b"half a film")
    with world.opened() as delivery:
        with file.open("ab") as writer:
            if not _kernel_tells_writers(file):
                pytest.skip("this file system does not tell who writes")
            with pytest.raises(TryLater, match="still open for writing"):
                delivery.claim(settled)
            writer.write(b", and the rest")
        world.beside["photo.MOV"] = b"half a film, and the rest"
        world.caption(delivery, settled)
    world.check_quiet()


def test_a_companion_that_may_not_be_opened_makes_its_picture_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's lease or a missing right concerns that picture alone, and says what helps."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    world.drop_beside("photo.MOV", b"a film")
    answers = {errno.EAGAIN: "is held by a program", errno.EACCES: "may not be read", errno.ENOENT: "is gone"}
    with world.opened() as delivery:
        for number, words in answers.items():
            with monkeypatch.context() as patch, pytest.raises(TryLater, match=words):
                patch.setattr(companions, "open_file", _refusing(number))
                delivery.claim(settled)
        with monkeypatch.context() as patch, pytest.raises(Surroundings):
            patch.setattr(companions, "open_file", _refusing(errno.ESTALE))
            delivery.claim(settled)
        assert world.claim(delivery, settled).attempt == 1


def _refusing(number: int) -> object:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def _kernel_tells_writers(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def test_a_companion_that_comes_while_the_model_works_is_waited_for(world: World) -> None:
    """The caption waits on disk until it is whole, over a restart too; the model is not asked again."""
    settled = world.drop("photo.jpg")
    with world.opened(settle_seconds=60.0) as delivery:
        job = world.claim(delivery, settled)
        world.drop_beside("photo.MOV", b"a film")
        with pytest.raises(TryLater, match=r"photo\.MOV"):
            world.publish(delivery, job)
        with pytest.raises(TryLater, match=r"photo\.MOV"):
            delivery.claim(settled)
        with pytest.raises(TryLater, match=r"photo\.MOV"):
            world.reject(delivery, settled)
        assert users_files(world.done) == users_files(world.failed) == []
    with world.opened(settle_seconds=60.0) as delivery:
        assert delivery.recover() == []
        assert delivery.unresolved == ()
        delivery._takers._now = lambda: time.time() + 61
        assert isinstance(delivery.claim(settled), Delivered)
    assert world.asked == 1
    world.check_quiet()


def test_words_that_come_while_the_model_works_count(tmp_path: Path) -> None:
    """An .xmp that appears after the claim is merged like one that lay there."""
    world = World.at(tmp_path, embed=embed_beside)
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        world.drop_beside("photo.xmp", b"<x/>")
        world.publish(delivery, job)
    assert (world.done / "photo.xmp").read_bytes() == b"<x/>\0" + WORDS.encode()
    world.check_quiet()


def test_a_companion_changed_after_it_was_copied_stays(world: World) -> None:
    """The version that was copied is delivered; the newer one stays in the inbox, whole."""
    world.drop_beside("photo.MOV", b"a film")
    file = world.inbox / "photo.MOV"

    def late(source: int, name: str, target: int, new_name: str) -> None:
        if new_name.endswith(".caption.json"):
            file.write_bytes(b"a longer film")
        world_move(source, name, target, new_name)

    world_move, world.move = world.move, late
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert file.read_bytes() == b"a longer film"
    assert (world.done / "photo.MOV").read_bytes() == b"a film"
    assert os.listdir(world.done / ".captiond") == ["lock"]


def test_a_companion_changed_while_it_is_copied_is_waited_for(tmp_path: Path) -> None:
    """A copy of something in between is never delivered."""
    world = World.at(tmp_path)
    file = world.drop_beside("photo.MOV", b"a film")

    def late(trace: claims.DeliveryTrace, number: int, *more: object) -> None:
        write(trace, number, *more)  # type: ignore[arg-type]
        if number:
            file.write_bytes(b"a longer film")

    write = claims.DeliveryTrace.copy_piece
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(TryLater, match="is being changed"):
            patch.setattr(claims.DeliveryTrace, "copy_piece", late)
            world.publish(delivery, job)
        world.beside["photo.MOV"] = b"a longer film"
        assert isinstance(delivery.claim(world.settled("photo.jpg")), Delivered)
    world.check_quiet()


# What is made and merged.


@pytest.mark.parametrize("name", ["photo.xmp", "photo.jpg.xmp"])
def test_a_merged_file_takes_the_place_of_the_one_that_came(world: World, name: str) -> None:
    """The caption goes into the .xmp that was there, under its own name; the dropped one leaves the inbox."""
    world.embed = embed_beside
    world.drop_beside(name, b"<x/>")
    with world.opened(takes_text=True) as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert (world.done / name).read_bytes() == b"<x/>\0" + WORDS.encode()
    (told,) = json.loads((world.done / "photo.jpg.caption.json").read_bytes())["companions"]
    assert (told["name"], told["action"]) == (name, "merged")
    assert (world.done / "photo.txt").read_bytes() == WORDS.encode()
    world.check_quiet()


@pytest.mark.parametrize(("on_stem", "name"), [(False, "photo.jpg.xmp"), (True, "photo.xmp")])
def test_a_made_file_is_called_as_the_settings_say(tmp_path: Path, on_stem: bool, name: str) -> None:
    """photo.jpg.xmp or photo.xmp, and photo.txt; none of them is told as a companion."""

    def embed_both(data: bytes, kind: str, texts: Texts, /, **_: object) -> Described:
        described = embed_beside(data, kind, texts)
        return type(described)(described.data, described.written, xmp=b"<x/>", text=described.text)

    world = World.at(tmp_path, embed=embed_both)
    world.drop_beside("photo.AAE", b"an edit")
    with world.opened(xmp_on_stem=on_stem) as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
        world.caption(delivery, world.drop("photo.jpg"))
    first = {name, "photo.AAE", "photo.jpg", "photo.jpg.caption.json", "photo.txt"}
    second = {one.replace("photo", f"photo{TAIL}") for one in first - {"photo.AAE"}}
    assert set(users_files(world.done)) == first | second
    assert (world.done / name).read_bytes() == b"<x/>"


def test_a_text_travels_where_texts_are_written(tmp_path: Path) -> None:
    """With output.text_sidecar a photo.txt that is there is a companion, and what it says is known."""
    seen = []

    def embed_seeing(data: bytes, kind: str, texts: Texts, /, *, notes: Notes) -> Described:
        seen.append(notes)
        return embed(data, kind, texts)

    world = World.at(tmp_path, embed=embed_seeing)
    world.drop_beside("photo.txt", b"my dog")
    with world.opened(takes_text=True) as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert [notes.text for notes in seen] == [b"my dog"]
    world.check_quiet()


def test_a_note_that_is_too_large_travels_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read, nothing is merged into it, and none is made in its place."""
    monkeypatch.setattr(companions, "MOST_NOTE_BYTES", 3)

    def embed_xmp(data: bytes, kind: str, texts: Texts, /, *, notes: Notes) -> Described:
        assert notes.xmp is None and notes.unread == {"xmp"}
        described = embed(data, kind, texts)
        return type(described)(described.data, described.written, xmp=b"ours")

    world = World.at(tmp_path, embed=embed_xmp)
    world.drop_beside("photo.jpg.xmp", b"<xml/>")
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    world.check_quiet()


def test_what_is_known_around_a_picture_is_told_to_the_describer(tmp_path: Path) -> None:
    """Its name, Takeout's words and credentials beside it count, also if they come late."""
    seen = []

    def embed_seen(data: bytes, kind: str, texts: Texts, /, *, notes: Notes) -> Described:
        seen.append(notes)
        return embed(data, kind, texts)

    world = World.at(tmp_path, embed=embed_seen)
    world.drop_beside("trip/photo.jpg.supplemental-metadata.json", b'{"description": "Anna"}')
    world.drop_beside("trip/photo.jpg.json", b" " * 2_000_000)
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("trip/photo.jpg"))
        assert job.notes == Notes(takeout=(b'{"description": "Anna"}',), name="trip/photo.jpg")
        world.drop_beside("trip/photo.c2pa", b"a manifest")
        world.publish(delivery, job)
    assert seen[-1] == Notes(takeout=job.notes.takeout, name="trip/photo.jpg", is_signed=True)
    assert (world.done / "trip/photo.c2pa").read_bytes() == b"a manifest"
    assert (world.done / "trip/photo.jpg.json").stat().st_size == 2_000_000
    world.check_quiet()


def test_credentials_that_another_picture_takes_sign_both(tmp_path: Path) -> None:
    """Which of two pictures photo.c2pa signs nobody can tell: neither is written into."""
    world = World.at(tmp_path)
    world.drop_beside("photo.C2PA", b"a manifest")
    with world.opened() as delivery:
        jobs = [world.claim(delivery, world.drop(name)) for name in ("photo.jpg", "photo.png")]
        assert [job.notes.is_signed for job in jobs] == [True, True]


# Failures, crashes, and what is left.


def test_beside_a_picture_that_fails_it_stays(tmp_path: Path) -> None:
    """Only the picture goes to failed/; put back, it finds what belongs to it, and they travel together."""
    world = World.at(tmp_path)
    drop_all(world)
    with world.opened() as delivery:
        world.reject(delivery, world.settled("trip/photo.jpg"))
        assert users_files(world.inbox) == sorted(BESIDE)
        assert retry.put_back("trip/photo.jpg", inbox=world.inbox, failed=world.failed) == "trip/photo.jpg"
        world.caption(delivery, world.settled("trip/photo.jpg"))
    assert not list(world.failed.rglob("*.jpg*"))
    with suppress(FileNotFoundError):
        (world.inbox / ".captiond/retry").rmdir()
    world.check_quiet()


@pytest.mark.parametrize(
    "act", [WRITING_THE_CLAIM, SHOWING_THE_IMAGE, COMMITTING, MARKING, TAKING_THE_ORIGINAL]
)
@pytest.mark.parametrize("tear", ["", "*.img", "*.2", "*.7", "gone"])
def test_a_crash_loses_none_of_it(world: World, act: str, tear: str) -> None:
    """From every step on recovery finishes without the model; what is torn or missing is made anew."""
    world.embed = embed_beside
    drop_all(world)
    with world.opened() as delivery:
        job = world.claim(delivery, world.settled("trip/photo.jpg"))
        with crashing(act):
            world.publish(delivery, job)
    for file in (world.done / ".captiond").glob("*.[1-9]" if tear == "gone" else tear or "none"):
        if tear == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:1])
    with world.opened() as delivery:
        assert [delivered.path for delivered in delivery.recover()] == ["trip/photo.jpg"]
        assert delivery.recover() == []
        assert delivery.unresolved == ()
    assert world.asked == 1
    world.check_quiet()


def test_what_was_shown_is_hidden_again_where_the_rest_was_lost(tmp_path: Path) -> None:
    """A disk that loses what was synced leaves no half of a delivery under its name."""
    world = World.at(tmp_path, embed=embed_beside)
    drop_all(world)
    with world.opened() as delivery:
        job = world.claim(delivery, world.settled("trip/photo.jpg"))
        with crashing(COMMITTING):
            world.publish(delivery, job)
    (world.done / "trip/photo.MOV").unlink()
    (world.inbox / "trip/photo.MOV").write_bytes(b"a newer film")
    world.beside["trip/photo.MOV"] = b"a newer film"
    with world.opened() as delivery:
        assert [delivered.path for delivered in delivery.recover()] == ["trip/photo.jpg"]
    world.check_quiet()


def test_a_picture_whose_original_is_gone_is_still_delivered_with_its_own(tmp_path: Path) -> None:
    """What was captioned and lies whole in .captiond/ takes along what still lies in the inbox."""
    world = World.at(tmp_path)
    drop_all(world)
    with world.opened() as delivery:
        job = world.claim(delivery, world.settled("trip/photo.jpg"))
        with crashing(WRITING_THE_CLAIM):
            world.publish(delivery, job)
    (world.inbox / "trip/photo.jpg").unlink()
    with world.opened() as delivery:
        assert len(delivery.recover()) == 1
    world.check_quiet()


def test_what_cannot_be_taken_away_is_tried_again_without_a_picture(tmp_path: Path) -> None:
    """The others leave the inbox at once; what is stuck goes by itself when it can, and costs little."""
    world = World.at(tmp_path)
    drop_all(world)
    now = [100.0]
    rename, refused = os.rename, [0]

    def refuse(old: str, new: str, **folders: int) -> None:
        if old == "photo.MOV":
            refused[0] += 1
            raise PermissionError(1, "Operation not permitted", old)
        rename(old, new, **folders)

    with world.opened(clock=lambda: now[0]) as delivery, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        world.caption(delivery, world.settled("trip/photo.jpg"))
        assert users_files(world.inbox) == ["trip/photo.MOV"]
        for _ in range(100):
            delivery.tidy()
        assert refused == [1]
        for _ in range(20):
            now[0] += 10
            delivery.tidy()
        assert 3 < refused[0] < 9
        patch.undo()
        now[0] += 300
        delivery.tidy()
        world.check_quiet()


def test_a_trace_that_could_not_be_removed_goes_by_itself(tmp_path: Path) -> None:
    """done/ that is read-only at the very end leaves a mark, which the next tidying removes, or the stop."""
    world = World.at(tmp_path)
    now = [100.0]
    for pause_seconds in (5.0, 0.0):
        with world.opened(clock=lambda: now[0]) as delivery:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(claims.DeliveryTrace, "end", _read_only)
                world.caption(delivery, world.drop(f"{pause_seconds}.jpg"))
            assert len(list((world.done / ".captiond").glob("*.delivered"))) == 1
            now[0] += pause_seconds
            delivery.tidy()
            if pause_seconds:
                world.check_quiet()
    world.check_quiet()


def _read_only(_: claims.DeliveryTrace) -> None:
    raise OSError(30, "Read-only file system")


# Names.


def test_a_name_leads_back_to_its_pictures() -> None:
    """Whatever travels with a picture knows the pictures that it may travel with."""
    for picture in ("trip/photo.jpg", "photo.HEIC", os.fsdecode(b"\xff.png")):
        for tail in tails(text=True):
            assert picture in pictures_of(tail.of(picture), ("jpg", "heic", "png"), text=True)
        assert not list(pictures_of(picture, ("jpg", "heic", "png"), text=True))
    assert "photo.jpg" in pictures_of("photo.NEF.xmp", ("jpg",), text=False)
    assert not list(pictures_of("trip/.xmp", ("jpg",), text=False))
    assert not list(pictures_of("photo.txt", ("jpg",), text=False))


def test_a_rejected_embedding_is_refused_as_ever(tmp_path: Path) -> None:
    """An image that cannot be described any more, once its company changed, takes the way to failed/."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        world.drop_beside("photo.jpg.xmp", b"<x/>")
        described = embed(job.data, "JPEG", Texts(WORDS))

        def refuse(*_: object, **__: object) -> Described:
            raise Rejected("unreadable", "no", stage="publish")

        world.embed = refuse
        with pytest.raises(Rejected) as rejected:
            delivery.publish(job, described, record_for(job, described))
        delivery.set_aside(settled.path, settled.fingerprint, rejected.value, 1, STAMP)
    assert users_files(world.inbox) == ["photo.jpg.xmp"]
    assert os.listdir(world.done / ".captiond") == ["lock"]
