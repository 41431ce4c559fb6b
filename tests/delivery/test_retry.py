"""Promises about `captiond retry`: what failed goes back into the inbox, once, and whole."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from delivery_world import MOVES, World, users_files

from captiond.delivery.retry import failures, put_back
from captiond.errors import NotThere

MOVES_AT_ONCE = ("flagged", "reserved")
PATH = os.fsdecode(b"trip/\xff.jpg")


class Crash(BaseException):
    """The end of the process."""


@pytest.fixture(params=MOVES_AT_ONCE)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A world in which one picture failed."""
    world = World.at(tmp_path, move=MOVES[request.param])
    with world.opened() as delivery:
        world.drop(PATH)
        os.utime(world.inbox / PATH, ns=(1, 1_234_567_890_123_456_789))
        world.reject(delivery, world.settled(PATH))
    return world


def retry(world: World, path: str = PATH) -> str:
    return put_back(path, inbox=world.inbox, failed=world.failed, move=world.move)


def test_a_failed_image_goes_back(world: World) -> None:
    """It lies in the inbox as it was dropped, failed/ is empty, and it can be captioned."""
    assert failures(world.failed) == [PATH]
    assert retry(world) == PATH
    assert (world.inbox / PATH).read_bytes() == b"a picture"
    assert (world.inbox / PATH).stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert users_files(world.failed) == failures(world.failed) == []
    with world.opened() as delivery:
        assert world.claim(delivery, world.settled(PATH)).attempt == 1
        world.work_off(delivery)
    world.check_quiet()


def test_it_goes_back_while_the_daemon_runs(world: World) -> None:
    """The daemon's lock is no hindrance."""
    with world.opened() as delivery:
        retry(world)
        world.work_off(delivery)
    world.check_quiet()


def test_nothing_in_the_inbox_is_replaced(world: World) -> None:
    """A picture that has the name by now keeps it."""
    world.drop(PATH, b"another picture")
    returned = retry(world)
    assert returned != PATH
    assert (world.inbox / PATH).read_bytes() == b"another picture"
    assert (world.inbox / returned).read_bytes() == b"a picture"


def test_a_repaired_image_goes_back_as_it_is_now(world: World) -> None:
    """Whoever mends a picture in failed/ gets the mended one captioned."""
    (world.failed / PATH).write_bytes(b"a mended picture")
    retry(world)
    assert (world.inbox / PATH).read_bytes() == b"a mended picture"
    assert users_files(world.failed) == []


@pytest.mark.parametrize("path", ["trip/other.jpg", "nowhere/photo.jpg", "trip"])
def test_an_unknown_path_is_told(world: World, path: str) -> None:
    """What did not fail is not touched."""
    with pytest.raises(NotThere):
        retry(world, path)
    assert failures(world.failed) == [PATH]


def test_an_error_without_its_image_is_told(world: World) -> None:
    """Where only the reason is left there is nothing to retry."""
    (world.failed / PATH).unlink()
    with pytest.raises(NotThere):
        retry(world)


ACTS = ("open", "write", "fsync", "rename", "link", "unlink")


def test_a_crash_at_any_act_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """Wherever the command dies, and the daemon takes what came back: the next command finishes, once."""
    for number in itertools.count():
        for move in (MOVES[name] for name in MOVES_AT_ONCE):
            world = World.at(tmp_path / f"{number}-{id(move)}", move=move)
            with world.opened() as delivery:
                world.drop(PATH)
                world.reject(delivery, world.settled(PATH))
            if not _crashed_at(number, world):
                return
            whole = [*world.inbox.rglob("*.jpg"), *world.failed.rglob("*.jpg")]
            assert any(file.read_bytes() == b"a picture" for file in whole if file.is_file())
            with world.opened() as delivery:
                world.work_off(delivery)
                if failures(world.failed):
                    retry(world)
                else:  # any other retry finishes what this one began
                    with pytest.raises(NotThere):
                        retry(world, "trip/other.jpg")
                world.work_off(delivery)
            for path in users_files(world.inbox):  # the crash came between reserving the name and the move
                assert move == MOVES["reserved"]
                (world.inbox / path).unlink()
            assert len(users_files(world.done)) == 2
            assert users_files(world.failed) == users_files(world.inbox) == []


def _crashed_at(number: int, world: World) -> bool:
    acts = itertools.count()

    def crashing(real: object) -> object:
        def act(*arguments: object, **options: object) -> object:
            if next(acts) >= number:
                raise Crash
            return real(*arguments, **options)  # type: ignore[operator]

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in ACTS:
            patch.setattr(os, name, crashing(getattr(os, name)))
        try:
            retry(world)
        except Crash:
            return True
    return False
