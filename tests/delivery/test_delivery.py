"""Promises about delivery on a quiet day: where things go, what they keep, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from delivery_world import MOVES, STAMP, WORDS, World, embed, record_for, users_files

from captiond.delivery import moves
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.names import job_id
from captiond.records import Delivered, Described, Fault, SettledFile, Texts

# The first digits of the checksum of what `World.drop` drops.
TAIL = "~" + hashlib.sha256(b"a picture").hexdigest()[:8]
NOT_UTF8 = os.fsdecode(b"caf\xe9/\xff\xfe.jpg")


@pytest.fixture(params=list(MOVES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Four folders, in each of the three ways to move a file without replacing another."""
    return World.at(tmp_path, move=MOVES[request.param])


def test_a_picture_is_delivered_with_its_sidecar(world: World) -> None:
    """The image lies in done/ under its path, the sidecar beside it, and nothing is left in the inbox."""
    with world.opened() as delivery:
        delivered = world.caption(delivery, world.drop("trip/photo.jpg"))
    assert delivered.path == "trip/photo.jpg"
    assert delivered.record == "trip/photo.jpg.caption.json"
    assert users_files(world.done) == ["trip/photo.jpg", "trip/photo.jpg.caption.json"]
    world.check_quiet()


def test_a_failure_is_set_aside_byte_for_byte(world: World) -> None:
    """The original lies in failed/ as it was dropped, with the reason beside it."""
    with world.opened() as delivery:
        delivered = world.reject(delivery, world.drop("trip/photo.jpg"))
    assert (world.failed / delivered.path).read_bytes() == b"a picture"
    answer = json.loads((world.failed / delivered.record).read_bytes())
    assert (answer["kind"], answer["advice"]) == ("unreadable", "Look at it.")
    world.check_quiet()


@pytest.mark.parametrize(
    "path", [NOT_UTF8, "x" * 251 + ".jpg", "a b\n\t'\"\\.jpg", ".jpg", "d" * 255 + "/a.jpg"]
)
def test_any_name_is_delivered(world: World, path: str) -> None:
    """Names that are not UTF-8, very long or odd come through; their sidecars say what they were."""
    with world.opened() as delivery:
        world.caption(delivery, world.drop(path))
        world.reject(delivery, world.drop(path, b"another picture"))
    del world.dropped[path]
    world.dropped |= {"1": b"a picture", "2": b"another picture"}
    world.check_quiet()


def test_nothing_is_ever_replaced(world: World) -> None:
    """A taken name gets the checksum's first digits, then a number, whatever has taken it."""
    (world.done / "a.jpg").mkdir()
    (world.done / "b.jpg").symlink_to("/nowhere")
    (world.done / "c.jpg.caption.json").write_bytes(b"somebody's")
    (world.done / "d.jpg").write_bytes(b"somebody's")
    (world.done / "e.jpg").write_bytes(b"")
    with world.opened() as delivery:
        names = [world.caption(delivery, world.drop(f"{name}.jpg")).path for name in "abcde"]
        again = [world.caption(delivery, world.drop("a.jpg")).path for _ in range(3)]
    assert names == [f"{name}{TAIL}.jpg" for name in "abcde"]
    assert again == [f"a{TAIL}-{number}.jpg" for number in (2, 3, 4)]
    assert (world.done / "a.jpg").is_dir()
    assert (world.done / "b.jpg").readlink() == Path("/nowhere")
    assert (world.done / "c.jpg.caption.json").read_bytes() == b"somebody's"
    assert (world.done / "d.jpg").read_bytes() == b"somebody's"
    assert (world.done / "e.jpg").read_bytes() == b""


def test_a_name_taken_at_the_last_moment_is_not_replaced(tmp_path: Path) -> None:
    """Whoever takes our name between the look and the move keeps it: the image's as well as the sidecar's."""
    world = World.at(tmp_path)
    taken = iter(["photo.jpg", f"photo{TAIL}.jpg.caption.json"])

    def rude(source: int, name: str, target: int, new_name: str) -> None:
        """Somebody else is faster, once for an image and once for a sidecar."""
        if new_name == rude_name[0]:
            (world.done / new_name).write_bytes(b"somebody's")
            rude_name[0] = next(taken, "")
        moves.move(source, name, target, new_name)

    rude_name = [next(taken)]
    world.move = rude
    with world.opened() as delivery:
        delivered = world.caption(delivery, world.drop("photo.jpg"))
    assert delivered.path == f"photo{TAIL}-2.jpg"
    assert (world.done / "photo.jpg").read_bytes() == b"somebody's"
    assert (world.done / f"photo{TAIL}.jpg.caption.json").read_bytes() == b"somebody's"
    assert not (world.done / f"photo{TAIL}.jpg").exists()
    assert (world.done / delivered.path).read_bytes() == b"a picture\0" + WORDS.encode()


def test_a_folder_whose_name_is_taken_by_a_file_or_a_link(world: World, tmp_path: Path) -> None:
    """Where done/ has a file or a link of a sub-folder's name, a folder beside it is used."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (world.done / "file").write_bytes(b"somebody's")
    (world.done / "link").symlink_to(outside)
    with world.opened() as delivery:
        first = world.caption(delivery, world.drop("file/a.jpg"))
        second = world.caption(delivery, world.drop("link/a.jpg"))
    assert first.path.startswith("file~")
    assert second.path.startswith("link~")
    assert (world.done / second.path).exists()
    assert not list(outside.iterdir())


def test_time_permissions_and_attributes_are_kept(world: World) -> None:
    """The delivered file has the original's time to the nanosecond, its mode and its extended attributes."""
    settled = world.drop("photo.jpg")
    file = world.inbox / "photo.jpg"
    with suppress(OSError):
        os.setxattr(file, "user.note", b"mine")
    kept = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    file.chmod(0o640)
    os.utime(file, ns=(1, 1_234_567_890_123_456_789))
    settled = world.settled("photo.jpg")
    with world.opened() as delivery:
        world.caption(delivery, settled)
        delivered = (world.done / "photo.jpg").stat()
        assert delivered.st_mtime_ns == 1_234_567_890_123_456_789
        assert stat.S_IMODE(delivered.st_mode) == 0o640
        assert {name: os.getxattr(world.done / "photo.jpg", name) for name in kept} == kept
        assert stat.S_IMODE((world.done / "photo.jpg.caption.json").stat().st_mode) == 0o640
        file.write_bytes(b"bad")
        os.utime(file, ns=(1, 987_654_321))
        world.reject(delivery, world.settled("photo.jpg"))
    assert (world.failed / "photo.jpg").stat().st_mtime_ns == 987_654_321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_kept_where_that_is_allowed(world: World) -> None:
    """What a person dropped stays that person's, and so does what was written about it."""
    world.drop("photo.jpg")
    os.chown(world.inbox / "photo.jpg", 1234, 2345)
    with world.opened() as delivery:
        world.caption(delivery, world.settled("photo.jpg"))
    for name in ("photo.jpg", "photo.jpg.caption.json"):
        status = (world.done / name).stat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)


@pytest.mark.parametrize("elsewhere", ["inbox", "done", "failed"])
def test_folders_on_different_file_systems(elsewhere: str, tmp_path: Path, other_file_system: Path) -> None:
    """Inbox, done and failed may be different volumes."""
    world = World.at(tmp_path)
    setattr(world, elsewhere, other_file_system)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("trip/a.jpg"))
        world.reject(delivery, world.drop("trip/b.jpg"))
    world.check_quiet()


def test_a_file_that_changed_before_the_claim_waits(world: World) -> None:
    """What is not what settled is not touched, and is charged nothing."""
    settled = world.drop("photo.jpg")
    (world.inbox / "photo.jpg").write_bytes(b"longer than it was")
    with world.opened() as delivery:
        with pytest.raises(TryLater):
            delivery.claim(settled)
        with pytest.raises(TryLater):
            world.reject(delivery, settled)
        world.dropped["photo.jpg"] = b"longer than it was"
        job = world.claim(delivery, world.settled("photo.jpg"))
        assert job.attempt == 1
        world.publish(delivery, job)
    world.check_quiet()


def test_a_file_that_vanished_waits(world: World) -> None:
    """A file that its owner took back is nobody's fault."""
    settled = world.drop("trip/photo.jpg")
    (world.inbox / "trip/photo.jpg").unlink()
    with world.opened() as delivery:
        with pytest.raises(TryLater):
            delivery.claim(settled)
        (world.inbox / "trip").rmdir()
        with pytest.raises(TryLater):
            delivery.claim(settled)


def swap_for_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def swap_for_fifo(path: Path) -> None:
    os.mkfifo(path)


def swap_for_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def swap_for_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("swap", [swap_for_link, swap_for_fifo, swap_for_socket, swap_for_folder])
@pytest.mark.timeout(20)
def test_what_is_put_in_a_files_place_is_not_followed(tmp_path: Path, swap: object) -> None:
    """A link, a FIFO, a socket or a folder in the place of a settled file neither leads astray nor blocks."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        (world.inbox / "photo.jpg").unlink()
        swap(world.inbox / "photo.jpg")  # type: ignore[operator]
        with pytest.raises(TryLater):
            delivery.claim(settled)
        with pytest.raises(TryLater):
            world.reject(delivery, settled)
        world.publish(delivery, job)
    assert os.path.lexists(world.inbox / "photo.jpg")
    assert (world.done / "photo.jpg").read_bytes() == b"a picture\0" + WORDS.encode()


def test_a_linked_folder_in_the_inbox_is_not_entered(tmp_path: Path) -> None:
    """A folder that becomes a link leads nowhere."""
    world = World.at(tmp_path)
    settled = world.drop("trip/photo.jpg")
    with world.opened() as delivery:
        (world.inbox / "trip").rename(tmp_path / "outside")
        (world.inbox / "trip").symlink_to(tmp_path / "outside")
        with pytest.raises(TryLater):
            delivery.claim(settled)
    assert (tmp_path / "outside/photo.jpg").exists()


def test_a_picture_changed_while_in_work_is_a_new_one(world: World) -> None:
    """The version that was captioned is delivered, the newer one stays and is delivered after it."""
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg", b"the first"))
        world.drop("photo.jpg", b"the second")
        first = world.publish(delivery, job)
        second = world.caption(delivery, world.settled("photo.jpg"))
    assert (world.done / first.path).read_bytes().startswith(b"the first")
    assert (world.done / second.path).read_bytes().startswith(b"the second")
    assert not users_files(world.inbox)


def test_a_picture_changed_in_the_last_moment_is_put_back(tmp_path: Path) -> None:
    """A change between the last look and the grab is noticed in the grab, and undone."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg")
    rename = os.rename

    def late(old: str, new: str, **folders: int) -> None:
        if old == "photo.jpg":
            (world.inbox / "photo.jpg").write_bytes(b"the second")
        rename(old, new, **folders)

    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "rename", late)
            world.publish(delivery, job)
        assert (world.inbox / "photo.jpg").read_bytes() == b"the second"
        world.dropped["second"] = b"the second"
        world.caption(delivery, world.settled("photo.jpg"))
    world.check_quiet()


def test_a_picture_touched_while_in_work_is_not_doubled(world: World) -> None:
    """A new time, mode or owner on the same bytes is no new picture."""
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        os.utime(world.inbox / "photo.jpg")
        (world.inbox / "photo.jpg").chmod(0o600)
        world.publish(delivery, job)
    world.check_quiet()


def test_what_a_writer_holds_open_is_not_taken_away(world: World) -> None:
    """A program that opened the file meanwhile can still write: nothing is lost and nothing doubled."""
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        with (world.inbox / "photo.jpg").open("r+b") as writer:
            if not _kernel_tells_writers(world.inbox / "photo.jpg"):
                pytest.skip("this file system does not tell who writes")
            world.publish(delivery, job)
            assert (world.inbox / "photo.jpg").exists()
            with pytest.raises(TryLater, match=r"delivered as done/photo\.jpg"):
                delivery.claim(world.settled("photo.jpg"))
            writer.seek(0, os.SEEK_END)
            writer.write(b", longer")
        world.dropped["longer"] = b"a picture, longer"
        world.caption(delivery, world.settled("photo.jpg"))
    world.check_quiet()


def _kernel_tells_writers(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def test_an_original_that_cannot_be_removed_is_not_delivered_twice(tmp_path: Path) -> None:
    """It is remembered, even over a restart, says what to do, and goes as soon as it can."""
    world = World.at(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", _refusing("photo.jpg"))
        with world.opened() as delivery:
            world.caption(delivery, world.drop("photo.jpg"))
            with pytest.raises(TryLater) as later:
                delivery.claim(world.settled("photo.jpg"))
            assert later.value.advice is not None
        with world.opened() as delivery:
            assert [delivered.path for delivered in delivery.recover()] == ["photo.jpg"]
            with pytest.raises(TryLater):
                delivery.claim(world.settled("photo.jpg"))
            patch.undo()
            with pytest.raises(TryLater, match="gone"):
                delivery.claim(world.settled("photo.jpg"))
    world.check_quiet()


def _refusing(refused: str) -> object:
    rename = os.rename

    def refuse(old: str, new: str, **folders: int) -> None:
        if old == refused:
            raise PermissionError(errno.EPERM, "Operation not permitted", old)
        rename(old, new, **folders)

    return refuse


def test_the_same_picture_dropped_again_is_delivered_again(world: World) -> None:
    """Whoever drops a picture a second time gets it a second time, with the checksum in its name."""
    with world.opened() as delivery:
        paths = [world.caption(delivery, world.drop("photo.jpg")).path for _ in range(2)]
    assert paths == ["photo.jpg", f"photo{TAIL}.jpg"]


def test_too_many_attempts_and_then_set_aside(world: World) -> None:
    """After limits.attempts starts that nobody forgave, the image is refused; then it begins anew."""
    settled = world.drop("photo.jpg")
    for expected in (1, 2, 3):
        with world.opened() as delivery:  # each a process that died at work
            assert world.claim(delivery, settled).attempt == expected
    with world.opened() as delivery:
        with pytest.raises(Rejected) as rejected:
            delivery.claim(settled)
        assert rejected.value.kind == "too_many_attempts"
        assert "3 times" in rejected.value.message
        delivered, _ = delivery.set_aside(settled.path, settled.fingerprint, rejected.value, 0, STAMP)
        assert json.loads((world.failed / delivered.record).read_bytes())["attempts"] == 4
        assert world.claim(delivery, world.drop("photo.jpg")).attempt == 1


def test_a_forgiven_attempt_is_not_counted(world: World) -> None:
    """However often the surroundings fail, the image is not charged."""
    settled = world.drop("photo.jpg")
    with world.opened() as delivery:
        for _ in range(5):
            job = world.claim(delivery, settled)
            assert job.attempt == 1
            delivery.forgive(settled)
            delivery.forgive(job)


def test_a_file_that_is_too_large_is_never_read(tmp_path: Path) -> None:
    """It is refused by its size, and set aside a piece at a time."""
    world = World.at(tmp_path)
    settled = world.drop("photo.jpg", b"")
    os.truncate(world.inbox / "photo.jpg", 5_000_000_000)
    with world.opened() as delivery, pytest.raises(Rejected) as rejected:
        delivery.claim(world.settled("photo.jpg"))
    assert rejected.value.kind == "too_large"
    os.truncate(world.inbox / "photo.jpg", 5_000_000)
    world.dropped["photo.jpg"] = b"\0" * 5_000_000
    settled = world.settled("photo.jpg")
    with world.opened() as delivery:
        delivery.set_aside(settled.path, settled.fingerprint, rejected.value, 1, STAMP)
    world.check_quiet()


def test_a_truncated_file_is_rejected_by_the_claim(world: World) -> None:
    """What never became whole goes to failed/ and never to the model."""
    settled = world.drop("photo.jpg")
    truncated = SettledFile(settled.path, settled.fingerprint, 0.0, Fault("truncated", "no EOI"))
    with world.opened() as delivery, pytest.raises(Rejected) as rejected:
        delivery.claim(truncated)
    assert rejected.value.kind == "truncated"


def test_a_folder_that_keeps_its_files_is_refused_before_the_model_works(tmp_path: Path) -> None:
    """What could not be taken out of the inbox afterwards is not captioned, and holds nobody else up."""
    world = World.at(tmp_path)
    settled = world.drop("trip/photo.jpg")
    with world.opened() as delivery, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_, **__: False)  # as it answers whoever is not root
        with pytest.raises(TryLater, match="not writable"):
            delivery.claim(settled)
        patch.undo()
        assert world.claim(delivery, settled).attempt == 1


def test_the_record_must_tell_of_the_image(tmp_path: Path) -> None:
    """A sidecar of other bytes is never published."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        with pytest.raises(ValueError, match="another image"):
            delivery.publish(
                job, Described(b"other bytes", ()), record_for(job, embed(job.data, "", Texts(WORDS)))
            )
    assert users_files(world.inbox) == ["photo.jpg"]
    assert users_files(world.done) == []


def test_threads_deliver_into_the_same_folder(world: World) -> None:
    """Many at once, competing for one name, lose and double nothing."""
    paths = [f"photo{TAIL}{more}.jpg" for more in ("", "-2", "-3")] + [f"d{n}/photo.jpg" for n in range(5)]
    (world.done / "photo.jpg").write_bytes(b"")
    with world.opened() as delivery:
        jobs = [world.claim(delivery, world.drop(path)) for path in [*paths, "photo.jpg"]]
        threads = [threading.Thread(target=world.publish, args=(delivery, job)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (world.done / "photo.jpg").unlink()
    world.check_quiet()


def test_a_full_disk_pauses_and_leaves_nothing_behind(world: World) -> None:
    """Trouble while writing is the surroundings' fault; the same work succeeds when it ends."""
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        for act in ("fsync", "write"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, act, _no_space)
                with pytest.raises(Surroundings, match="No space"):
                    world.publish(delivery, job)
            assert set(os.listdir(world.done / ".captiond")) == {"lock"}
            assert users_files(world.done) == []
        world.publish(delivery, job)
    world.check_quiet()


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("failing", range(12))
@pytest.mark.parametrize("way", ["publish", "set_aside"])
def test_trouble_at_any_sync_is_made_good(world: World, failing: int, way: str) -> None:
    """Whichever fsync fails: the next claim finishes or repeats the delivery, and it is there once."""
    settled = world.drop("trip/photo.jpg")
    fsync, calls = os.fsync, iter(range(100))

    def unlucky(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        with pytest.MonkeyPatch.context() as patch, suppress(Surroundings):
            patch.setattr(os, "fsync", unlucky)
            if way == "publish":
                world.publish(delivery, job)
            else:
                world.reject(delivery, settled)
        for path in users_files(world.inbox):
            world.caption(delivery, world.settled(path))
        assert delivery.recover() == []  # a mark may be left, but nothing that is told twice
    world.check_quiet()


def test_a_volume_mounted_inside_the_inbox(tmp_path: Path) -> None:
    """Where an original cannot be renamed away it is looked at once more and removed where it lies."""
    world = World.at(tmp_path)
    rename = os.rename

    def across(old: str, new: str, **folders: int) -> None:
        if old == "photo.jpg":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new, **folders)

    with world.opened() as delivery, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", across)
        world.caption(delivery, world.drop("trip/photo.jpg"))
    world.check_quiet()


def test_what_a_pause_interrupted_is_finished_without_the_model(tmp_path: Path) -> None:
    """Trouble after the record is durable costs no second caption."""
    world = World.at(tmp_path)

    def unlucky(source: int, name: str, target: int, new_name: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    world.move = unlucky
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop("photo.jpg"))
        with pytest.raises(Surroundings):
            world.publish(delivery, job)
    world.move = moves.move
    with world.opened() as delivery:
        assert isinstance(delivery.claim(world.settled("photo.jpg")), Delivered)
        assert delivery.recover() == []
    assert world.asked == 1
    world.check_quiet()


def _picky(*refused: str, number: int = errno.EINVAL) -> moves.Move:
    """A file system that does not take names with some of these in them."""

    def move(source: int, name: str, target: int, new_name: str) -> None:
        if any(part in new_name for part in refused):
            raise OSError(number, os.strerror(number))
        moves.move(source, name, target, new_name)

    return move


@pytest.mark.parametrize(
    ("dropped", "number", "delivered"),
    [
        ("12:30.jpg", errno.EINVAL, "12_30~581be28f.jpg"),
        ("Trip/who?.jpg", errno.EILSEQ, "Trip/who_~c783a871.jpg"),
    ],
)
def test_a_name_that_a_folder_cannot_hold_is_replaced(
    tmp_path: Path, dropped: str, number: int, delivered: str
) -> None:
    """The image gets a name that fits, after its own checksum; its sidecar tells the true one."""
    world = World.at(tmp_path, move=_picky(":", "?", number=number))
    with world.opened() as delivery:
        assert world.caption(delivery, world.drop(dropped)).path == delivered
    told = json.loads((world.done / f"{delivered}.caption.json").read_bytes())
    assert told["source"]["path"] == dropped
    world.check_quiet()


def test_a_name_that_nothing_helps_concerns_that_image_alone(tmp_path: Path) -> None:
    """A file system that refuses every name of an image pauses nobody, and the caption waits with it."""
    world = World.at(tmp_path, move=_picky("12"))
    with world.opened() as delivery:
        for _ in range(3):
            with pytest.raises(TryLater, match="cannot hold"):
                world.caption(delivery, world.drop("12:30.jpg"))
            assert delivery.recover() == []
        world.caption(delivery, world.drop("1130.jpg"))
        assert world.asked == 2
        assert users_files(world.inbox) == ["12:30.jpg"]
    world.move = moves.move
    with world.opened() as delivery:
        assert [one.path for one in delivery.recover()] == ["12:30.jpg"]
    assert world.asked == 2
    world.check_quiet()


# Opening.


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    """One inbox has one daemon: another process is told which one works there."""
    world = World.at(tmp_path)
    code = (
        "import sys; from pathlib import Path; from delivery_world import World\n"
        "from captiond.errors import CannotStart\n"
        "try: World.at(Path(sys.argv[1])).delivery().open()\n"
        "except CannotStart as no: print(no); sys.exit(int(no.exit_code))\n"
    )
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with world.opened():
        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 75, second.stderr
    assert str(os.getpid()) in second.stdout
    third = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr


@pytest.mark.parametrize("shared", ["done", "failed"])
def test_two_inboxes_do_not_share_a_folder(tmp_path: Path, shared: str) -> None:
    """The traces in done/ and failed/ are one daemon's alone."""
    first, second = World.at(tmp_path / "first"), World.at(tmp_path / "second")
    setattr(second, shared, getattr(first, shared))
    with first.opened(), pytest.raises(CannotStart) as refused:
        second.delivery().open()
    assert refused.value.exit_code == ExitCode.TRY_AGAIN


@pytest.mark.parametrize(
    ("inner", "path"),
    [
        ("done", "inbox/done"),
        ("done", "inbox"),
        ("inbox", "done/inbox"),
        ("failed", "done"),
        ("done", "link"),
    ],
)
def test_folders_inside_one_another_are_refused(tmp_path: Path, inner: str, path: str) -> None:
    """A done folder in the inbox would be captioned again for ever."""
    world = World.at(tmp_path)
    (tmp_path / "link").symlink_to(world.inbox)
    (tmp_path / path).mkdir(exist_ok=True)
    setattr(world, inner, tmp_path / path)
    with pytest.raises(CannotStart) as refused:
        world.delivery().open()
    assert refused.value.exit_code == ExitCode.WRONG_SETTINGS


@pytest.mark.parametrize("name", ["inbox", "done", "failed"])
def test_a_missing_folder_is_told(tmp_path: Path, name: str) -> None:
    """Folders are never made up: a missing one is a volume that is not mounted."""
    world = World.at(tmp_path)
    (tmp_path / name).rmdir()
    with pytest.raises(CannotStart, match=f"folders.{name}") as refused:
        world.delivery().open()
    assert refused.value.exit_code == ExitCode.TRY_AGAIN


@pytest.mark.parametrize("name", ["inbox", "done", "failed"])
def test_a_linked_work_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Nobody can lead the daemon's own files elsewhere."""
    world = World.at(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / name / ".captiond").symlink_to(tmp_path / "outside")
    with pytest.raises(CannotStart) as refused:
        world.delivery().open()
    assert refused.value.exit_code == ExitCode.TRY_AGAIN
    assert not list((tmp_path / "outside").iterdir())


def test_opening_removes_temporaries_and_nothing_else(tmp_path: Path) -> None:
    """What no record accounts for goes; what we did not make stays."""
    world = World.at(tmp_path)
    work = world.done / ".captiond"
    work.mkdir()
    job = job_id("photo.jpg", "0" * 64)
    for name in (f"{job}.img", f"{job}.img.new", f"{job}.json.new", "notes.txt", "abc.img"):
        (work / name).write_bytes(b"torn")
    with world.opened():
        assert set(os.listdir(work)) == {"lock", "notes.txt", "abc.img"}


# While running.


@pytest.mark.parametrize("name", ["inbox", "done", "failed"])
def test_a_folder_that_goes_away_pauses_until_it_is_back(tmp_path: Path, name: str) -> None:
    """A volume that is unmounted stops the work and starts it again by itself."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("a.jpg"))
        settled = world.drop("b.jpg")
        acts: dict[str, Callable[[], object]] = {
            "inbox": lambda: delivery.claim(settled),
            "done": delivery.recover,
            "failed": lambda: world.reject(delivery, settled),
        }
        (tmp_path / name).rename(tmp_path / "away")
        with pytest.raises(Surroundings, match=f"folders.{name}"):
            acts[name]()
        (tmp_path / "away").rename(tmp_path / name)
        world.caption(delivery, settled)
    world.check_quiet()


@pytest.mark.parametrize("name", ["inbox", "done", "failed"])
def test_a_folder_that_is_made_anew_is_used(tmp_path: Path, name: str) -> None:
    """Whoever clears a folder by removing and making it again does not have to restart the daemon."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("a.jpg"))
        (tmp_path / name).rename(tmp_path / "away")
        (tmp_path / name).mkdir()
        world.dropped.clear()
        world.caption(delivery, world.drop("b.jpg"))
        world.reject(delivery, world.drop("c.jpg", b"bad"))
        assert (world.done / "b.jpg.caption.json").exists()
        assert (world.failed / "c.jpg.error.json").exists()
        with pytest.raises(CannotStart):
            world.delivery().open()


def test_what_lies_under_a_lost_mount_is_not_used(tmp_path: Path, other_file_system: Path) -> None:
    """Another file system in a folder's place is not delivered into, and nothing is put there."""
    world = World.at(tmp_path)
    world.done = tmp_path / "mounted"
    world.done.symlink_to(other_file_system)
    with world.opened() as delivery:
        assert delivery._folders["done"].path == other_file_system.resolve()
    place = tmp_path / "place"
    place.mkdir()
    world.done = place
    with world.opened() as delivery:
        settled = world.drop("a.jpg")
        job = world.claim(delivery, settled)
        place.rename(tmp_path / "unmounted")
        place.symlink_to(other_file_system)
        before = sorted(os.listdir(other_file_system))
        with pytest.raises(Surroundings, match="not the folder"):
            world.publish(delivery, job)
        assert sorted(os.listdir(other_file_system)) == before
        place.unlink()
        (tmp_path / "unmounted").rename(place)
        world.publish(delivery, job)
    world.check_quiet()


def test_cleared_traces_while_running_are_made_again(tmp_path: Path) -> None:
    """Removing .captiond/ under a running daemon is survived."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        for place in (world.inbox, world.done, world.failed):
            (place / ".captiond").rename(tmp_path / f"away-{place.name}")
        world.caption(delivery, world.drop("a.jpg"))
        world.reject(delivery, world.drop("b.jpg"))
    world.check_quiet()
