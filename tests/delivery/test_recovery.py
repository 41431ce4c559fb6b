"""Promises about what is found after a crash, state by state."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import pytest
from delivery_world import MOVES, STAMP, WORDS, World, embed, users_files

from captiond.delivery import Delivery, journal
from captiond.errors import Rejected, Surroundings
from captiond.records import Described, Timings, Written


class Crash(BaseException):
    """The end of the process, as far as the files are concerned: nothing after it is done."""


@pytest.fixture(params=list(MOVES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    world = World.at(tmp_path, move=MOVES[request.param])
    world.drop("trip/photo.jpg")
    os.utime(world.inbox / "trip/photo.jpg", ns=(1, 1_234_567_890_123_456_789))
    return world


@contextmanager
def crashing(before: str) -> Iterator[None]:
    """Crash when the delivery comes to this act."""

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        patch.setattr(journal.Trace, "clear", lambda _, **__: None)  # a dead process clears nothing
        patch.setattr(before, crash)
        yield


def crash_before(world: World, act: str) -> None:
    with world.opened() as delivery:
        job = world.claim(delivery, world.settled("trip/photo.jpg"))
        with crashing(act):
            world.publish(delivery, job)


WRITING_THE_IMAGE = "captiond.delivery.claims.DeliveryTrace.write_piece"
WRITING_THE_CLAIM = "captiond.delivery.claims.DeliveryTrace.write_claim"
SHOWING_THE_IMAGE = "captiond.delivery.steps.Steps._show_pieces"
COMMITTING = "captiond.delivery.steps.Steps._show_record"
MARKING = "captiond.delivery.claims.DeliveryTrace.mark_delivered"
TAKING_THE_ORIGINAL = "captiond.delivery.originals.remove"


@pytest.mark.parametrize(
    "act",
    [WRITING_THE_IMAGE, WRITING_THE_CLAIM, SHOWING_THE_IMAGE, COMMITTING, MARKING, TAKING_THE_ORIGINAL],
)
def test_a_delivery_goes_on_where_it_stopped(world: World, act: str) -> None:
    """From every step on, recovery finishes without the model, keeps the time, and tells of it once."""
    crash_before(world, act)
    with world.opened() as delivery:
        assert [delivered.path for delivered in delivery.recover()] == ["trip/photo.jpg"]
        assert delivery.recover() == []
        assert delivery.unresolved == ()
    assert world.asked == 1
    assert (world.done / "trip/photo.jpg").stat().st_mtime_ns == 1_234_567_890_123_456_789
    world.check_quiet()


def test_what_recovery_finished_is_told_as_if_nothing_had_happened(world: World) -> None:
    """The record on disk says all of it; where somebody took that away, what and where are still told."""
    crash_before(world, COMMITTING)
    with world.opened() as delivery:
        (delivered,) = delivery.recover()
        told = delivery.outcome(delivered)
        assert (told.path, told.folder, told.delivered) == ("trip/photo.jpg", "done", "trip/photo.jpg")
        assert (told.caption, told.model, told.at) == (WORDS, "demo", STAMP.created_at)
        assert (told.format, told.width, told.height, told.attempts) == ("JPEG", 40, 30, 1)
        assert told.timings == Timings(0.1, 0.2, 0.3, 0.4)
        assert told.sha256 == hashlib.sha256(b"a picture").hexdigest()
        record = world.done / delivered.record
        odd = json.loads(record.read_bytes())
        odd |= {
            "created_at": "9999-12-31T23:59:59-23:00",
            "timings_seconds": {"queued": 10**400},
            "attempts": -1,
        }
        record.write_text(json.dumps(odd | {"source": odd["source"] | {"width": 2**70}, "model": "mine"}))
        told = delivery.outcome(delivered)
        assert (told.caption, told.model, told.width, told.attempts, told.timings) == (WORDS, *[None] * 4)
        for foreign in (b'{"caption": "mine"}', b"", None):
            record.unlink()
            if foreign is not None:
                record.write_bytes(foreign)
            least = delivery.outcome(delivered)
            assert (least.path, least.delivered, least.sha256) == (told.path, told.delivered, told.sha256)
            assert least.caption is None and least.at.tzinfo is UTC
        world.drop("bad.jpg", b"no picture")
        told = delivery.outcome(world.reject(delivery, world.settled("bad.jpg")))
        assert (told.folder, told.kind, told.message) == ("failed", "unreadable", "it is no image")
        assert (told.advice, told.caption, told.timings) == ("Look at it.", None, None)


def test_a_torn_image_is_made_anew_from_the_original(world: World) -> None:
    """The caption in the record and the bytes in the inbox are enough."""
    crash_before(world, SHOWING_THE_IMAGE)
    image = next((world.done / ".captiond").glob("*.img"))
    image.write_bytes(image.read_bytes()[:5])
    with world.opened() as delivery:
        assert len(delivery.recover()) == 1
    assert (world.asked, world.embedded) == (1, 1)
    world.check_quiet()


def test_an_image_made_anew_under_other_settings_gets_a_record_that_fits(world: World) -> None:
    """When other bytes come out, the sidecar says so; the caption stays the one that was made."""
    crash_before(world, WRITING_THE_IMAGE)

    def embed_nothing(data: bytes, *_: object, **__: object) -> Described:
        return Described(data, (Written("exif:ImageDescription", "skipped", "the settings say so"),))

    world.embed = embed_nothing
    with world.opened() as delivery:
        assert len(delivery.recover()) == 1
    told = json.loads((world.done / "trip/photo.jpg.caption.json").read_bytes())
    assert told["caption"] == WORDS
    assert told["written"][0]["action"] == "skipped"
    assert told["published"]["sha256"] == told["source"]["sha256"]
    world.check_quiet()


def test_a_name_taken_after_the_crash_is_not_replaced(world: World) -> None:
    """The name in the claim is a plan, not a right."""
    crash_before(world, SHOWING_THE_IMAGE)
    (world.done / "trip").mkdir(exist_ok=True)
    (world.done / "trip/photo.jpg").write_bytes(b"somebody's")
    with world.opened() as delivery:
        (delivered,) = delivery.recover()
    assert delivered.path.startswith("trip/photo~")
    assert (world.done / "trip/photo.jpg").read_bytes() == b"somebody's"
    (world.done / "trip/photo.jpg").unlink()
    world.check_quiet()


def test_a_sidecars_name_taken_after_the_crash_moves_both(world: World) -> None:
    """An image whose sidecar cannot lie beside it gets another name as well."""
    crash_before(world, COMMITTING)
    (world.done / "trip/photo.jpg.caption.json").write_bytes(b"somebody's")
    with world.opened() as delivery:
        (delivered,) = delivery.recover()
    assert delivered.path.startswith("trip/photo~")
    assert not (world.done / "trip/photo.jpg").exists()
    (world.done / "trip/photo.jpg.caption.json").unlink()
    world.check_quiet()


def test_files_that_were_fetched_before_the_restart_are_not_made_again(world: World) -> None:
    """Whoever waits for sidecars may move both files away at once; the picture is not delivered twice."""
    crash_before(world, TAKING_THE_ORIGINAL)
    for path in users_files(world.done):
        (world.done / path).unlink()
    with world.opened() as delivery:
        assert len(delivery.recover()) == 1
    assert users_files(world.inbox) == users_files(world.done) == []
    assert os.listdir(world.done / ".captiond") == ["lock"]


def test_a_restart_that_dies_while_it_forgets_leaves_nothing_to_explain(world: World) -> None:
    """Its owner has taken the picture away; a record without its claim would be told for ever."""
    with world.opened() as delivery, crashing("captiond.delivery.handover.commit"):
        world.reject(delivery, world.settled("trip/photo.jpg"))
    (world.inbox / "trip/photo.jpg").unlink()
    del world.dropped["trip/photo.jpg"]
    unlink, calls = os.unlink, iter(range(100))

    def dying(name: str, **folder: int) -> None:
        if next(calls) == 1:
            raise Crash
        unlink(name, **folder)

    with (
        world.opened() as delivery,
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(Crash),
    ):
        patch.setattr(os, "unlink", dying)
        delivery.recover()
    with world.opened() as delivery:
        assert delivery.recover() == []
        assert delivery.unresolved == ()
    assert users_files(world.failed) == []
    world.check_quiet()


def test_a_new_drop_after_the_crash_is_a_new_delivery(world: World) -> None:
    """The same bytes under the same name, dropped again after the original was gone, come a second time."""
    crash_before(world, "captiond.delivery.claims.DeliveryTrace.end")
    assert users_files(world.inbox) == []
    (world.inbox / "keeps-the-inode.jpg").write_bytes(b"another picture")
    world.drop("trip/photo.jpg")
    with world.opened() as delivery:
        delivery.recover()
        assert users_files(world.inbox) == ["keeps-the-inode.jpg", "trip/photo.jpg"]
        delivered = world.caption(delivery, world.settled("trip/photo.jpg"))
    assert delivered.path.startswith("trip/photo~")


def test_another_picture_dropped_after_the_crash_is_not_taken_for_the_old_one(world: World) -> None:
    """What lies in the inbox is removed only if it is what was delivered."""
    crash_before(world, TAKING_THE_ORIGINAL)
    (world.inbox / "trip/photo.jpg").write_bytes(b"A PICTURE")
    os.utime(world.inbox / "trip/photo.jpg", ns=(1, 1_234_567_890_123_456_789))
    with world.opened() as delivery:
        delivery.recover()
        assert (world.inbox / "trip/photo.jpg").read_bytes() == b"A PICTURE"
        world.dropped["new"] = b"A PICTURE"
        world.work_off(delivery)
    world.check_quiet()


def test_without_image_and_original_nothing_is_removed(world: World) -> None:
    """A record that cannot be finished is left for a person, and told at every start."""
    crash_before(world, SHOWING_THE_IMAGE)
    next((world.done / ".captiond").glob("*.img")).unlink()
    (world.inbox / "trip/photo.jpg").unlink()
    left = sorted(os.listdir(world.done / ".captiond"))
    for _ in range(2):
        with world.opened() as delivery:
            assert delivery.recover() == []
            (notice,) = delivery.unresolved
            assert str(world.done) in notice.message
    assert sorted(os.listdir(world.done / ".captiond")) == left


def test_an_image_whose_original_was_taken_back_is_still_delivered(world: World) -> None:
    """What was captioned and lies whole in .captiond/ is not lost when its owner removes the original."""
    crash_before(world, WRITING_THE_CLAIM)
    (world.inbox / "trip/photo.jpg").unlink()
    with world.opened() as delivery:
        assert len(delivery.recover()) == 1
    world.check_quiet()


@pytest.mark.parametrize("tear", ["record", "claim"])
def test_torn_traces_cost_a_caption_and_nothing_else(world: World, tear: str) -> None:
    """A disk that loses what was synced makes the model work again, or not even that."""
    crash_before(world, SHOWING_THE_IMAGE)
    file = next((world.done / ".captiond").glob({"record": "*.json", "claim": "*.claim"}[tear]))
    file.write_bytes(file.read_bytes()[:-20])
    with world.opened() as delivery:
        delivery.recover()
        world.work_off(delivery)
    assert world.asked == {"record": 2, "claim": 1}[tear]
    world.check_quiet()


def test_an_embedding_that_is_refused_starts_from_the_beginning(world: World) -> None:
    """Where a caption cannot be laid into the bytes any more, the image takes the ordinary way."""
    crash_before(world, WRITING_THE_IMAGE)

    def refuse(*_: object, **__: object) -> Described:
        raise Rejected("unreadable", "no", stage="publish")

    world.embed = refuse
    with world.opened() as delivery:
        assert delivery.recover() == []
        assert delivery.unresolved == ()
    assert os.listdir(world.done / ".captiond") == ["lock"]
    assert users_files(world.inbox) == ["trip/photo.jpg"]


def test_a_full_disk_is_not_charged_to_what_is_recovered(world: World) -> None:
    """However often recovery meets trouble while it makes an image anew, the image is delivered after it."""
    crash_before(world, WRITING_THE_CLAIM)
    with world.opened() as delivery:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", _no_space)
            for _ in range(5):
                with pytest.raises(Surroundings):
                    delivery.recover()
        assert len(delivery.recover()) == 1
    world.check_quiet()


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_image_that_kills_recovery_is_given_up(world: World) -> None:
    """A start that dies in a recovery is counted; after limits.attempts the others are served."""
    crash_before(world, WRITING_THE_IMAGE)

    def die(*_: object, **__: object) -> Described:
        raise Crash

    world.embed = die
    for _ in range(2):  # the claim was the first attempt
        with world.opened() as delivery, pytest.raises(Crash):
            delivery.recover()
    world.embed = embed
    with world.opened() as delivery:
        assert delivery.recover() == []
        with pytest.raises(Rejected, match="4 times"):
            delivery.claim(world.settled("trip/photo.jpg"))


def test_a_changed_file_in_the_grab_goes_back(world: World) -> None:
    """A crash between the grab and putting back loses no newer version."""
    crash_before(world, TAKING_THE_ORIGINAL)
    job = _only_job(world)
    (world.inbox / "trip/photo.jpg").rename(world.inbox / ".captiond/grab" / job)
    (world.inbox / ".captiond/grab" / job).write_bytes(b"a newer version")
    world.dropped["newer"] = b"a newer version"
    with world.opened() as delivery:
        delivery.recover()
        assert users_files(world.inbox) == ["trip/photo.jpg"]
        world.work_off(delivery)
    world.check_quiet()


def test_a_changed_file_in_the_grab_goes_beside_a_newer_one(world: World) -> None:
    """Where its name was taken meanwhile, it goes back under another."""
    crash_before(world, TAKING_THE_ORIGINAL)
    job = _only_job(world)
    (world.inbox / "trip/photo.jpg").rename(world.inbox / ".captiond/grab" / job)
    (world.inbox / ".captiond/grab" / job).write_bytes(b"a newer version")
    world.drop("newest.jpg", b"the newest version")
    (world.inbox / "newest.jpg").rename(world.inbox / "trip/photo.jpg")
    world.dropped["newer"] = b"a newer version"
    with world.opened() as delivery:
        delivery.recover()
        assert len(users_files(world.inbox)) == 2
        world.work_off(delivery)
    world.check_quiet()


def _only_job(world: World) -> str:
    return next((world.done / ".captiond").glob("*.delivered")).stem


def test_recovery_leaves_what_is_in_work_alone(world: World) -> None:
    """Recovering while pictures are delivered disturbs none of them."""

    def recover_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        assert delivery.recover() == []
        world.move(source, name, target, new_name)

    with world.opened(move=recover_meanwhile) as delivery:
        world.publish(delivery, world.claim(delivery, world.settled("trip/photo.jpg")))
    world.check_quiet()


def test_names_that_are_not_utf8_are_recovered(tmp_path: Path) -> None:
    """The record holds the exact bytes of a path, and so does the claim."""
    world = World.at(tmp_path)
    path = os.fsdecode(b"caf\xe9/\xff.jpg")
    settled = world.drop(path)
    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        with crashing(COMMITTING):
            world.publish(delivery, job)
    with world.opened() as delivery:
        assert [delivered.path for delivered in delivery.recover()] == [path]
    world.check_quiet()


def test_a_failure_that_crashed_is_finished(world: World) -> None:
    """failed/ is filled by the same protocol."""
    settled = world.settled("trip/photo.jpg")
    with world.opened() as delivery, crashing(COMMITTING):
        world.reject(delivery, settled)
    with world.opened() as delivery:
        assert [delivered.record for delivered in delivery.recover()] == ["trip/photo.jpg.error.json"]
    world.check_quiet()


def test_a_caption_that_waits_on_disk_is_not_set_aside(world: World) -> None:
    """An image whose delivery was interrupted by a pause goes to done/, whatever is thought of it later."""
    with world.opened() as delivery:
        _interrupted(world, delivery)
        assert world.reject(delivery, world.settled("trip/photo.jpg")).record.endswith(".caption.json")
    world.check_quiet()


def test_a_caption_that_waits_on_disk_is_not_made_again(world: World) -> None:
    """The claim finishes the delivery and says so, with all that the pipeline needs to count it."""
    with world.opened() as delivery:
        _interrupted(world, delivery)
        finished = delivery.claim(world.settled("trip/photo.jpg"))
    assert finished.path == "trip/photo.jpg"
    assert world.asked == 1
    world.check_quiet()


def _interrupted(world: World, delivery: Delivery) -> None:
    job = world.claim(delivery, world.settled("trip/photo.jpg"))
    with crashing(SHOWING_THE_IMAGE):
        world.publish(delivery, job)
