"""Promises about files that are larger than what is free: each is its own trouble, and nobody else's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_world import World, users_files

from captiond.delivery import companions, failing, moves
from captiond.delivery.steps import Steps
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.records import Delivered
from faults.tools import cannot_mount, mounted

CANNOT_MOUNT = cannot_mount()
TERABYTE = 1024**4
MIB = 1024 * 1024

needs_a_disk = pytest.mark.skipif(CANNOT_MOUNT is not None, reason=CANNOT_MOUNT or "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[World]:
    """done/ and failed/ on a disk of 8 MiB each, apart from the inbox."""
    world = World.at(tmp_path)
    with mounted(world.done, size_kib=8 * 1024), mounted(world.failed, size_kib=8 * 1024):
        yield world


def apart(source: int, name: str, target: int, new_name: str) -> None:
    """Two volumes: what does not lie in a `.captiond/` of the target's cannot be moved there."""
    if Path(f"/proc/self/fd/{source}").readlink().name != ".captiond":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    moves.move(source, name, target, new_name)


def sparse(file: Path, size: int, data: bytes = b"") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.write(data)
        opened.truncate(size)


def test_what_fails_is_renamed_and_not_copied(tmp_path: Path) -> None:
    """On one file system the file itself goes: its inode, owner, time, mode and holes are what they were."""
    world = World.at(tmp_path)
    world.drop("trip/photo.jpg")
    (world.inbox / "trip/photo.jpg").chmod(0o641)
    before = (world.inbox / "trip/photo.jpg").stat()
    with world.opened() as delivery:
        world.reject(delivery, world.settled("trip/photo.jpg"))
    after = (world.failed / "trip/photo.jpg").stat()
    for field in ("st_ino", "st_mtime_ns", "st_mode", "st_uid", "st_gid", "st_size", "st_nlink"):
        assert getattr(after, field) == getattr(before, field), field
    world.check_quiet()


@pytest.mark.timeout(20)
def test_a_terabyte_of_holes_is_set_aside_at_once(tmp_path: Path) -> None:
    """Without a copy, and without reading it: its record says that its checksum is not known."""
    world = World.at(tmp_path)
    sparse(world.inbox / "photo.jpg", TERABYTE)
    with world.opened() as delivery:
        settled = world.settled("photo.jpg")
        with pytest.raises(Rejected) as rejected:
            delivery.claim(settled)
        assert rejected.value.kind == "too_large"
        delivered = world.reject(delivery, settled)
        assert delivery.outcome(delivered).sha256 is None
    assert (world.failed / "photo.jpg").stat().st_size == TERABYTE
    assert (world.failed / "photo.jpg").stat().st_blocks == 0
    assert '"sha256": null' in (world.failed / "photo.jpg.error.json").read_text()
    assert users_files(world.inbox) == []


@needs_a_disk
@pytest.mark.timeout(30)
def test_holes_stay_holes_in_a_copy(small_disk: World) -> None:
    """A file of which little is written takes little room elsewhere, too."""
    for size in (64 * MIB, TERABYTE):
        sparse(small_disk.inbox / f"{size}.jpg", size, b"x" * 5000)
        with small_disk.opened() as delivery:
            small_disk.reject(delivery, small_disk.settled(f"{size}.jpg"))
        copy = small_disk.failed / f"{size}.jpg"
        assert (copy.stat().st_size, copy.stat().st_blocks * 512 < MIB) == (size, True)
        with copy.open("rb") as opened:
            assert opened.read(5001) == b"x" * 5000 + b"\0"
    assert users_files(small_disk.inbox) == []


@needs_a_disk
@pytest.mark.timeout(60)
def test_what_failed_and_finds_no_room_waits_alone(small_disk: World) -> None:
    """It is not copied until the disk is full, others go on, and it goes when there is room."""
    small_disk.drop("large.jpg", b"x" * 20 * MIB)
    with small_disk.opened() as delivery:
        for _ in range(3):
            with pytest.raises(TryLater, match="no room") as later:
                small_disk.reject(delivery, small_disk.settled("large.jpg"))
            assert later.value.after_seconds >= 30
            assert later.value.advice is not None
        small_disk.caption(delivery, small_disk.drop("a.jpg"))
        small_disk.reject(delivery, small_disk.drop("b.jpg"))
    assert {file.name for file in (small_disk.failed / ".captiond").iterdir()} == {"lock"}
    assert users_files(small_disk.inbox) == ["large.jpg"]


@needs_a_disk
@pytest.mark.parametrize("large", ["photo.jpg", "photo.mov"])
@pytest.mark.timeout(60)
def test_a_captioned_picture_without_room_keeps_its_caption(small_disk: World, large: str) -> None:
    """The picture or the film beside it: it waits, the model is not asked again, and others go on."""
    small_disk.drop("photo.jpg", b"x" * (20 * MIB if large == "photo.jpg" else 10))
    if large == "photo.mov":
        small_disk.drop_beside("photo.mov", b"y" * 20 * MIB)
    with small_disk.opened(max_file_bytes=TERABYTE) as delivery:
        for _ in range(3):
            with pytest.raises(TryLater, match=f"no room for {large}"):
                small_disk.caption(delivery, small_disk.settled("photo.jpg"))
            assert delivery.recover() == []
        small_disk.caption(delivery, small_disk.drop("other.jpg"))
        assert small_disk.asked == 2
    assert sorted(users_files(small_disk.inbox)) == sorted({"photo.jpg", large})


@needs_a_disk
@pytest.mark.timeout(60)
def test_a_caption_that_waits_for_room_is_delivered_when_there_is_some(small_disk: World) -> None:
    """By itself, and with the caption that was made."""
    ballast = small_disk.done / "ballast"
    ballast.write_bytes(b"z" * 5 * MIB)
    small_disk.drop("photo.jpg", b"x" * 4 * MIB)
    with small_disk.opened(max_file_bytes=TERABYTE) as delivery:
        with pytest.raises(TryLater, match="no room"):
            small_disk.caption(delivery, small_disk.settled("photo.jpg"))
        ballast.unlink()
        claimed = delivery.claim(small_disk.settled("photo.jpg"))
        assert isinstance(claimed, Delivered)
    assert small_disk.asked == 1
    small_disk.check_quiet()


@needs_a_disk
@pytest.mark.timeout(60)
def test_a_disk_without_room_for_anything_pauses(small_disk: World) -> None:
    """That is everybody's trouble, and charges nobody."""
    (small_disk.done / "ballast").write_bytes(b"z" * (8 * MIB - 200 * 1024))
    with small_disk.opened() as delivery:
        with pytest.raises(Surroundings, match="No space"):
            small_disk.caption(delivery, small_disk.drop("photo.jpg", b"x" * 900 * 1024))
        (small_disk.done / "ballast").unlink()
        small_disk.caption(delivery, small_disk.settled("photo.jpg"))
    small_disk.check_quiet()


def test_a_film_of_holes_is_waited_for(tmp_path: Path) -> None:
    """A program that made room for a whole film first is not done with it; to read it would take hours."""
    world = World.at(tmp_path)
    sparse(world.inbox / "photo.mov", companions.MOST_HOLLOW_BYTES * 4)
    with world.opened() as delivery, pytest.raises(TryLater, match="holes"):
        delivery.claim(world.drop("photo.jpg"))


def test_a_quota_is_found_out_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of a file system know nothing of a quota: a file that exceeds it waits alone."""
    world = World.at(tmp_path, move=apart)
    write, used = os.write, [0]

    def limited(file: int, data: bytes) -> int:
        used[0] = os.fstat(file).st_size + len(data)
        if used[0] > 3 * MIB:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return write(file, data)

    with world.opened(max_file_bytes=TERABYTE) as delivery:
        monkeypatch.setattr(os, "write", limited)
        with pytest.raises(TryLater, match="no room"):
            world.caption(delivery, world.drop("large.jpg", b"x" * 5 * MIB))
        with pytest.raises(TryLater, match="no room"):
            world.reject(delivery, world.drop("bad.jpg", b"x" * 6 * MIB))
        world.caption(delivery, world.drop("small.jpg"))
        monkeypatch.undo()
        assert isinstance(delivery.claim(world.settled("large.jpg")), Delivered)
        world.reject(delivery, world.settled("bad.jpg"))
    assert world.asked == 2
    world.check_quiet()


# Setting aside by a rename.


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EACCES])
def test_what_may_not_be_renamed_is_copied(tmp_path: Path, number: int) -> None:
    """Another volume, or a folder from which only owners take files."""

    def refusing(source: int, name: str, target: int, new_name: str) -> None:
        if Path(f"/proc/self/fd/{source}").readlink().name != ".captiond":
            raise OSError(number, os.strerror(number))
        moves.move(source, name, target, new_name)

    world = World.at(tmp_path, move=refusing)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("trip/photo.jpg"))
    world.check_quiet()


def test_a_file_that_a_writer_holds_goes_back(tmp_path: Path) -> None:
    """What is written by then must not be in failed/ as if it were all."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    with world.opened() as delivery, (world.inbox / "photo.jpg").open("r+b") as writer:
        with pytest.raises(TryLater, match="open for writing"):
            world.reject(delivery, settled)
        assert users_files(world.failed) == []
        writer.seek(0, os.SEEK_END)
        writer.write(b", longer")
    world.dropped["photo.jpg"] += b", longer"
    with world.opened() as delivery:
        world.reject(delivery, world.settled("photo.jpg"))
    world.check_quiet()


@pytest.mark.parametrize("swap", ["other", "link", "folder", "longer"])
def test_what_takes_its_place_in_the_last_moment_goes_back(tmp_path: Path, swap: str) -> None:
    """Whatever is moved in its stead is not set aside, and lies where it was put."""

    def late(source: int, name: str, target: int, new_name: str) -> None:
        file = world.inbox / "photo.jpg"
        if new_name == "photo.jpg" and not swapped:
            swapped.append(True)
            if swap == "longer":
                file.write_bytes(b"a longer picture")
            else:
                file.rename(world.inbox / "away.jpg")
                if swap == "link":
                    file.symlink_to("/etc/passwd")
                elif swap == "folder":
                    file.mkdir()
                else:
                    file.write_bytes(b"another")
        moves.move(source, name, target, new_name)

    swapped: list[bool] = []
    world = World.at(tmp_path, move=late)
    with world.opened() as delivery:
        with pytest.raises(TryLater):
            world.reject(delivery, world.drop("photo.jpg"))
        assert os.listdir(world.failed) == [".captiond"]
        assert os.path.lexists(world.inbox / "photo.jpg")
    assert {file.name for file in (world.failed / ".captiond").iterdir()} == {"lock"}


def test_a_large_file_is_known_again_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it was never read."""
    monkeypatch.setattr(failing, "MOST_READ_BYTES", 0)
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    for act in ("_show_record", "commit_shown"):
        with world.opened() as delivery, monkeypatch.context() as patch:
            patch.setattr(Steps, act, crash)
            with pytest.raises(Crash):
                delivery.recover()
                world.reject(delivery, settled)
        with world.opened() as delivery:
            (delivered,) = delivery.recover()
            assert delivered.path == "photo.jpg"
        assert (world.failed / "photo.jpg").read_bytes() == b"a picture"
        (world.failed / "photo.jpg").unlink()
        (world.failed / "photo.jpg.error.json").unlink()
        settled = world.drop("photo.jpg")
