"""Promises about the same file sent again: it is no news, and nothing is lost by it."""

from __future__ import annotations

import errno
import itertools
import json
import os
from pathlib import Path

import pytest
from delivery_world import LATER, World, embed_beside, users_files

from captiond.delivery import Delivery, duplicates
from captiond.errors import Surroundings, TryLater
from captiond.records import Delivered, Job

PATH = "trip/photo.jpg"
BESIDE = {"trip/photo.xmp": b"<x/>", "trip/photo.MOV": b"a film"}


class Crash(BaseException):
    """The end of the process."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world in which a picture was delivered."""
    world = World.at(tmp_path)
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.drop(PATH))
    return world


def sent_again(world: World, delivery: Delivery, path: str = PATH) -> Job | Delivered:
    world.drop(path, world.dropped[path])
    for beside, data in list(world.beside.items()):
        world.drop_beside(beside, data)
    return delivery.claim(world.settled(path))


def drop_all(world: World) -> None:
    world.drop(PATH)
    for path, data in BESIDE.items():
        world.drop_beside(path, data)


def test_the_same_file_again_is_taken_away(world: World) -> None:
    """The model is not asked, done/ stays as it is, and nobody is charged, however often it comes."""
    before = {path: (world.done / path).stat().st_mtime_ns for path in users_files(world.done)}
    with world.opened(skips_duplicates=True) as delivery:
        for _ in range(3):
            again = sent_again(world, delivery)
            assert isinstance(again, Delivered)
            assert (again.is_duplicate, again.folder, again.path) == (True, "done", PATH)
            assert delivery.recover() == []
    assert world.asked == 1
    assert {path: (world.done / path).stat().st_mtime_ns for path in users_files(world.done)} == before
    world.check_quiet()


def test_whoever_wants_it_twice_gets_it_twice(world: World) -> None:
    """`output.duplicates: keep`."""
    with world.opened() as delivery:
        assert isinstance(sent_again(world, delivery), Job)


@pytest.mark.parametrize(
    "change",
    ["other bytes", "other path", "image gone", "sidecar gone", "image changed", "image cut",
     "sidecar changed", "sidecar another's", "sidecar torn", "image a link", "a failure's"],
)  # fmt: skip
def test_what_is_not_the_same_is_delivered(world: World, change: str) -> None:
    """What came may be the only original: the image in done/ is read, and its sidecar alone not believed."""
    image, sidecar = world.done / PATH, world.done / f"{PATH}.caption.json"
    told = json.loads(sidecar.read_bytes())
    path, data = PATH, b"a picture"
    match change:
        case "other bytes":
            data = b"A PICTURE"
        case "other path":
            path = "trip/other.jpg"
        case "image gone":
            image.unlink()
        case "sidecar gone":
            sidecar.unlink()
        case "image changed":
            image.write_bytes(b"turned by somebody")
        case "image cut":
            os.truncate(image, 3)
        case "sidecar changed":
            sidecar.write_text(json.dumps({**told, "published": {"sha256": "0" * 64}}))
        case "sidecar another's":
            sidecar.write_text(json.dumps({**told, "source": {**told["source"], "path": "x.jpg"}}))
        case "sidecar torn":
            sidecar.write_bytes(sidecar.read_bytes()[:-20])
        case "image a link":
            image.rename(world.done / "away.jpg")
            image.symlink_to(world.done / "away.jpg")
        case "a failure's":
            sidecar.write_text(json.dumps({**told, "schema": "captiond/error"}))
    with world.opened(skips_duplicates=True) as delivery:
        claimed = delivery.claim(world.drop(path, data))
        assert isinstance(claimed, Job)
        assert claimed.attempt == 1
        world.publish(delivery, claimed)
    assert users_files(world.inbox) == []


def test_a_twin_behind_others_of_its_name_is_found(world: World) -> None:
    """Cameras begin to count anew: several pictures have one name, and each is known by its own bytes."""
    with world.opened(skips_duplicates=True) as delivery:
        for data in (b"a second", b"a third"):
            world.caption(delivery, world.drop(PATH, data))
        (world.done / PATH).unlink()
        (world.done / f"{PATH}.caption.json").write_bytes(b"somebody's")
        for data in (b"a second", b"a third"):
            again = delivery.claim(world.drop(PATH, data))
            assert isinstance(again, Delivered)
            assert again.is_duplicate
    assert world.asked == 3


def test_a_picture_with_edited_words_is_known_again(world: World) -> None:
    """A person's caption changes the image in done/, and its sidecar says so."""
    with world.opened(skips_duplicates=True) as delivery:
        delivery.edit(PATH, "Rex and Ada", LATER)
        again = sent_again(world, delivery)
        assert isinstance(again, Delivered)
        assert again.is_duplicate
    world.check_quiet()


@pytest.mark.parametrize("merges", [False, True])
def test_companions_that_are_the_same_go_too(tmp_path: Path, merges: bool) -> None:
    """Moved ones by their bytes; merged ones if the same would be made of them again."""
    world = World.at(tmp_path, **({"embed": embed_beside} if merges else {}))
    drop_all(world)
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.settled(PATH))
        again = sent_again(world, delivery)
        assert isinstance(again, Delivered)
        assert again.is_duplicate
    assert users_files(world.inbox) == []
    world.check_quiet()


@pytest.mark.parametrize("changed", [*BESIDE, "trip/photo.AAE"])
def test_companions_that_are_news_are_delivered(tmp_path: Path, changed: str) -> None:
    """What was changed, or comes for the first time, is not thrown away: picture and all are delivered."""
    world = World.at(tmp_path, embed=embed_beside)
    drop_all(world)
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.settled(PATH))
        drop_all(world)
        world.drop_beside(changed, b"<y/> news")
        claimed = delivery.claim(world.settled(PATH))
        assert isinstance(claimed, Job)
        again = world.publish(delivery, claimed)
    tail = changed.removeprefix("trip/photo")
    stem = again.path.removesuffix(".jpg")
    assert (world.done / f"{stem}{tail}").read_bytes().startswith(b"<y/> news")


def test_a_companion_that_is_gone_from_done_is_not_thrown_away(tmp_path: Path) -> None:
    """The one that came may be the last."""
    world = World.at(tmp_path)
    drop_all(world)
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.settled(PATH))
        (world.done / "trip/photo.MOV").unlink()
        assert isinstance(sent_again(world, delivery), Job)


def test_a_picture_sent_without_its_companions_is_the_same(tmp_path: Path) -> None:
    """They lie in done/ already."""
    world = World.at(tmp_path)
    drop_all(world)
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.settled(PATH))
        again = delivery.claim(world.drop(PATH))
        assert isinstance(again, Delivered)
        assert again.is_duplicate
    world.check_quiet()


ACTS = ("open", "write", "fsync", "rename", "unlink", "mkdir")


def test_a_crash_at_any_act_loses_nothing(tmp_path: Path) -> None:
    """Wherever the process dies while it takes a duplicate away, the next one finishes and leaves nothing."""
    for number in itertools.count():
        world = World.at(tmp_path / str(number), embed=embed_beside)
        drop_all(world)
        with world.opened(skips_duplicates=True) as delivery:
            world.caption(delivery, world.settled(PATH))
        if not _crashed_at(number, world):
            assert number > 30
            return
        with world.opened(skips_duplicates=True) as delivery:
            assert delivery.recover() == []
            assert delivery.unresolved == ()
            if (world.inbox / PATH).exists():
                claimed = delivery.claim(world.settled(PATH))
                assert isinstance(claimed, Delivered)
        assert world.asked == 1
        world.check_quiet()


@pytest.mark.parametrize("gone", ["trip/photo.jpg", "trip/photo.jpg.caption.json", "trip/photo.MOV"])
def test_a_twin_that_goes_before_the_restart_takes_nothing_along(tmp_path: Path, gone: str) -> None:
    """After a crash the mark alone is not believed: what came last may be the only one by then."""
    for number in itertools.count(0, 3):
        world = World.at(tmp_path / str(number))
        drop_all(world)
        with world.opened(skips_duplicates=True) as delivery:
            world.caption(delivery, world.settled(PATH))
        if not _crashed_at(number, world):
            return
        original = {**BESIDE, PATH: b"a picture"}.get(gone)
        (world.done / gone).unlink()
        came = [file.read_bytes() for file in world.inbox.rglob("*") if file.is_file()]
        with world.opened(skips_duplicates=True) as delivery:
            delivery.recover()
            for path in [path for path in users_files(world.inbox) if path.endswith(".jpg")]:
                world.caption(delivery, world.settled(path))
        there = [world.done / path for path in users_files(world.done)]
        there += [world.inbox / path for path in users_files(world.inbox)]
        if original in came:
            assert any(file.read_bytes().startswith(original) for file in there)
        assert not any((world.inbox / ".captiond/grab").iterdir())


@pytest.mark.parametrize("act", ["write", "fsync", "rename", "unlink"])
def test_trouble_pauses_and_charges_nobody(world: World, act: str) -> None:
    """The disk is full, or does not let the file go: it goes when that is over."""
    with world.opened(skips_duplicates=True) as delivery:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, act, _no_space)
            try:
                sent_again(world, delivery)
            except (Surroundings, TryLater):
                pass
        delivery.recover()
        delivery.close()
    with world.opened(skips_duplicates=True) as delivery:
        delivery.recover()
        if (world.inbox / PATH).exists():
            again = delivery.claim(world.settled(PATH))
            assert isinstance(again, Delivered)
    assert world.asked == 1
    world.check_quiet()


def test_a_free_name_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read or hashed in done/ for a picture whose name is free there."""

    def read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(duplicates, "claim_of", read)
    with world.opened(skips_duplicates=True) as delivery:
        for path in ("photo.jpg", "trip/other.jpg", "elsewhere/deep/photo.jpg"):
            assert isinstance(delivery.claim(world.drop(path)), Job)
    assert not (world.done / "elsewhere").exists()


def _crashed_at(number: int, world: World) -> bool:
    acts = itertools.count()

    def crashing(real: object) -> object:
        def act(*arguments: object, **options: object) -> object:
            if next(acts) >= number:
                raise Crash
            return real(*arguments, **options)  # type: ignore[operator]

        return act

    with world.opened(skips_duplicates=True) as delivery:
        drop_all(world)
        with pytest.MonkeyPatch.context() as patch:
            for name in ACTS:
                patch.setattr(os, name, crashing(getattr(os, name)))
            try:
                claimed = delivery.claim(world.settled(PATH))
                assert isinstance(claimed, Delivered)
                assert claimed.is_duplicate
            except Crash:
                return True
            finally:
                patch.undo()
                delivery._finishing.leftovers._left.clear()
    return False


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
