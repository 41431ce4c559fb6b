"""Where each verdict leads, in real folders with a captioner that does as it is told."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond import pipeline
from captiond.checking import Question
from captiond.delivery import Delivery
from captiond.delivery.attempts import Attempts
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.inbox import Inbox
from captiond.metadata.describing import Describing
from captiond.pictures.pool import Decoders
from captiond.pipeline import Pipeline
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.pipeline.gate import Gate
from captiond.pipeline.ondemand import Answering
from captiond.pipeline.preparing import Preparing
from captiond.records import (
    Answer,
    CaptionRequest,
    Delivered,
    Fingerprint,
    ModelIdentity,
    Outcome,
    Picture,
    Rules,
)
from captiond.service.upkeep import Upkeep
from captiond.status import Gauges, Tally

REQUEST = CaptionRequest("Describe what is shown in this image.", 160)


class FakeCaptioner:
    """Says how wide a picture is, and does before that whatever a test wants."""

    identity = ModelIdentity("fake", "none")
    capacity = 8
    is_loaded = True

    def __init__(self) -> None:
        self.before: Callable[[int], None] = lambda _: None
        self._counting = threading.Lock()
        self.in_work = 0
        self.beside: dict[int, int] = {}  # width -> how many others were in work with it

    def gauges(self) -> Gauges:
        return Gauges()

    def load(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""

    def needed_side(self, width: int, height: int) -> int | None:
        return None

    def prepare(self, picture: Picture) -> int:
        return picture.image.width

    def ask_all(self, width: int, requests: Sequence[CaptionRequest]) -> list[Answer | Rejected | TryLater]:
        return [self.ask(width, request) for request in requests]

    def ask(self, width: int, request: CaptionRequest) -> Answer:
        with self._counting:
            self.beside[width] = self.in_work
            self.in_work += 1
        try:
            self.before(width)
        finally:
            with self._counting:
                self.in_work -= 1
        return Answer(f"{width} wide", None, self.identity, request, 1, 1, "stop")


class World:
    def __init__(self, root: Path, decoders: Decoders) -> None:
        for name in ("inbox", "done", "failed", "state"):
            (root / name).mkdir()
        self.root = root
        self.captioner = FakeCaptioner()
        self.preparing = Preparing(self.captioner, decoders)
        self.gate = Gate()
        self.tally = Tally()
        self.told: list[Outcome] = []
        self.attempts = Attempts(root / "state")
        describe = Describing(replaces=False, blocks=["exif"], place=None, xmp="never", text=False)
        interview = Interviewing(FieldQuestion(Question("caption", REQUEST.prompt), REQUEST.max_new_tokens))
        self.rules = Rules(interview, describe, max_pixels=1_000_000, max_file_bytes=10_000_000, attempts=3)
        folders = root / "inbox", root / "done", root / "failed"
        self.delivery = Delivery(*folders, self.attempts, lambda _: self.rules)
        self.inbox = self.make_inbox()
        self.stop = threading.Event()

    def make_inbox(self, incomplete_after_seconds: float = 600) -> Inbox:
        return Inbox(
            self.root / "inbox",
            settle_seconds=0.05,
            incomplete_after_seconds=incomplete_after_seconds,
            rescan_seconds=1,
            poll_interval_seconds=1,
            method="polling",
        )

    def tell(self, outcome: Outcome) -> None:
        self.tally.count(outcome)
        self.told.append(outcome)

    def drop(self, *widths: int) -> None:
        for width in widths:
            buffer = io.BytesIO()
            Image.new("RGB", (width, 16), "gray").save(buffer, "PNG")
            (self.root / "inbox" / f"{width}.png").write_bytes(buffer.getvalue())

    @contextmanager
    def opened(self) -> Iterator[Pipeline[int]]:
        self.delivery.open()
        self.inbox.start()
        try:
            yield Pipeline(
                self.inbox,
                self.delivery,
                self.captioner,
                self.preparing,
                gate=self.gate,
                tally=self.tally,
                tell=self.tell,
                suspects=self.attempts.begun(),
            )
        finally:
            self.inbox.close()
            self.delivery.close()
            self.attempts.close()

    def done(self) -> set[str]:
        return {path.name for path in (self.root / "done").glob("*.png")}

    def failed(self) -> set[str]:
        return {path.name for path in (self.root / "failed").glob("*.png")}


@pytest.fixture
def world(tmp_path: Path, decoders: Decoders) -> World:
    return World(tmp_path, decoders)


def test_what_was_in_work_when_a_process_ended_is_served_alone(world: World) -> None:
    """A picture that may have killed an earlier process has nobody beside it whom it could harm."""
    world.drop(*range(20, 32))
    suspects = {22, 25}
    for width in suspects:
        file = world.root / "inbox" / f"{width}.png"
        world.attempts.begin(file.name, _fingerprint(file))
    world.captioner.before = lambda _: time.sleep(0.02)
    with world.opened() as work:
        work.run(world.stop, once=True)
    assert len(world.done()) == 12
    assert all(world.captioner.beside[width] == 0 for width in suspects)
    assert max(world.captioner.beside.values()) > 0  # the others shared


def test_files_in_memory_are_bounded_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two files together are more than may be held, they are served one after the other."""
    monkeypatch.setattr(pipeline, "FILE_BYTES_TOGETHER", 100)
    world.drop(*range(20, 26))
    world.captioner.before = lambda _: time.sleep(0.02)
    with world.opened() as work:
        work.run(world.stop, once=True)
    assert len(world.done()) == 6 and set(world.captioner.beside.values()) == {0}


def test_no_memory_for_one_picture_is_tried_again_alone(world: World) -> None:
    """What runs out of memory in our own process gets a second chance without neighbours, uncharged."""
    prepare, tries = world.captioner.prepare, []

    def hungry(picture: Picture) -> int:
        tries.append(picture)
        if len(tries) == 1:
            raise MemoryError
        return prepare(picture)

    world.captioner.prepare = hungry  # type: ignore[method-assign]
    world.drop(20)
    with world.opened() as work:
        work.run(world.stop, once=True)
    assert world.done() == {"20.png"} and len(tries) == 2


def test_a_picture_that_never_fits_into_memory_is_set_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried limits.attempts times, fails alone, and the others are delivered."""
    prepare = world.captioner.prepare

    def hungry(picture: Picture) -> int:
        if picture.image.width == 20:
            raise MemoryError
        return prepare(picture)

    world.captioner.prepare = hungry  # type: ignore[method-assign]
    monkeypatch.setattr(pipeline, "NO_MEMORY_RETRY_SECONDS", 0.1)
    world.drop(20, 21, 22)
    with world.opened() as work:
        work.run(world.stop, once=True)
    assert world.done() == {"21.png", "22.png"} and world.failed() == {"20.png"}
    assert "memory" in (world.root / "failed" / "20.png.error.json").read_text()


def test_no_json_is_parsed_on_the_straight_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is a value until it is written; reading it back is recovery's, and of those who look later."""
    parsed: list[str] = []
    read = json.JSONDecoder.decode

    def counted(decoder: json.JSONDecoder, text: str, *more: Any) -> Any:
        parsed.append(text)
        return read(decoder, text, *more)

    world.drop(20, 21, 22)
    (world.root / "inbox" / "20.xmp").write_bytes(b"<x/>")  # one of them has a companion
    Image.new("RGB", (1200, 1200)).save(world.root / "inbox" / "large.png")  # more pixels than are allowed
    monkeypatch.setattr(json.JSONDecoder, "decode", counted)
    with world.opened() as work:
        work.run(world.stop, once=True)
    assert {outcome.path for outcome in world.told} == {"20.png", "21.png", "22.png", "large.png"}
    assert not parsed


def test_the_inbox_and_infer_share_one_bound(tmp_path: Path) -> None:
    """Where the memory does for one picture, those of `/infer` and of the inbox are decoded in turns."""
    decoders = Decoders(memory_bytes=50_000_000)
    world = World(tmp_path, decoders)
    prepare, beside = world.captioner.prepare, []
    inside = threading.Semaphore(1)

    def counted(picture: Picture) -> int:
        beside.append(not inside.acquire(blocking=False))
        time.sleep(0.05)  # time for another to come in, were it let
        if not beside[-1]:
            inside.release()
        return prepare(picture)

    world.captioner.prepare = counted  # type: ignore[method-assign]
    world.drop(20, 21)
    data = (world.root / "inbox" / "20.png").read_bytes()
    with decoders, world.opened() as work:
        ondemand = Answering(lambda _: world.rules, world.gate)
        ondemand.begin(world.captioner, world.preparing)
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ondemand.said, data) for _ in range(2)]
            work.run(world.stop, once=True)
        assert [one.result().texts.caption for one in asked] == ["20 wide"] * 2
    assert world.done() == {"20.png", "21.png"} and beside == [False] * 4


def test_a_process_that_cannot_work_on_drains_and_leaves(world: World) -> None:
    """A lost GPU ends the process with its exit code; no picture fails, and each is in exactly one place."""

    def lose_the_gpu(width: int) -> None:
        if width == 25:
            raise CannotStart("the GPU is gone", exit_code=ExitCode.TRY_AGAIN)

    world.captioner.before = lose_the_gpu
    world.drop(*range(20, 30))
    with world.opened() as work, pytest.raises(CannotStart, match="the GPU is gone"):
        work.run(world.stop)
    left = {path.name for path in (world.root / "inbox").glob("*.png")}
    assert "25.png" in left and not world.failed()
    assert left | world.done() == {f"{width}.png" for width in range(20, 30)} and not left & world.done()


def test_one_picture_that_always_meets_trouble_does_not_stop_the_others(world: World) -> None:
    """A picture on a bad block of the disk pauses the work now and then; the others come through."""

    def bad_block(width: int) -> None:
        if width == 20:
            raise Surroundings("Input/output error")

    world.captioner.before = bad_block
    world.drop(*range(20, 26))
    os.utime(world.root / "inbox" / "20.png", (0, 0))  # the oldest, so it is always first in line
    with world.opened() as work, _running(work, world):
        _until(lambda: len(world.done()) == 5, seconds=20)
    assert not world.failed() and (world.root / "inbox" / "20.png").exists()


def test_every_picture_is_told_of_once_and_as_its_record_says(world: World) -> None:
    """Captioned, failed, and finished from what an earlier run left: each with its folder and its words."""
    world.drop(20, 21)
    (world.root / "inbox" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture" + b"\0" * 50)
    world.inbox = world.make_inbox(incomplete_after_seconds=0.05)
    with world.opened() as work:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("captiond.delivery.steps.Steps._show_record", _no_room)
            with _running(work, world):
                _until(lambda: world.gate.trouble is not None, seconds=10)
        assert "done" not in {outcome.folder for outcome in world.told}
        world.stop = threading.Event()
        work.run(world.stop, once=True)
        told = {outcome.path: outcome for outcome in world.told}
        assert len(world.told) == len(told) == 3
        assert (told["20.png"].folder, told["20.png"].caption) == ("done", "20 wide")
        assert (told["20.png"].model, told["20.png"].width, told["20.png"].format) == ("fake", 20, "PNG")
        assert (told["bad.png"].folder, told["bad.png"].caption) == ("failed", None)
        assert told["bad.png"].kind and told["bad.png"].message
    assert (world.tally.done, world.tally.failed) == (2, 1)


@pytest.mark.parametrize("folder", ["inbox", "done"])
def test_a_pause_ends_though_no_picture_waits(world: World, folder: str) -> None:
    """A folder that went away and came back, or a server, opens the gate without a picture to try it."""
    with world.opened() as work, _running(work, world):
        rooms = world.inbox, world.delivery, world.captioner
        upkeep = Upkeep(*rooms, gate=world.gate, tally=world.tally, tell=world.tell)
        away = world.root / "away"
        (world.root / folder).rename(away)
        world.gate.close(Surroundings("it is gone"))
        assert upkeep.status().startswith("paused: it is gone")
        upkeep.round()
        assert world.gate.trouble is not None
        with upkeep.going_on():
            away.rename(world.root / folder)
            _until(lambda: world.gate.trouble is None, seconds=10)
        assert upkeep.status() == "watching the inbox; 0 waiting, 0 in work, 0 done, 0 failed"


def test_a_pause_that_was_over_before_anybody_looked_is_minded(world: World) -> None:
    """However short a pause was, what it interrupted is finished and what it left is taken away."""
    with world.opened():
        rooms = world.inbox, world.delivery, world.captioner
        upkeep = Upkeep(*rooms, gate=world.gate, tally=world.tally, tell=world.tell)
        done: list[str] = []

        def recover() -> list[Delivered]:
            done.append("recovered")
            return []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.delivery, "recover", recover)
            patch.setattr(world.delivery, "tidy", lambda: done.append("tidied"))
            upkeep.round()
            world.gate.close(Surroundings("the disk hiccups"))
            world.gate.open()
            upkeep.round()
            upkeep.round()
            world.gate.close(Surroundings("the disk hiccups again"))
            upkeep.round()
        assert done == ["tidied", "recovered", "tidied", "tidied"]


@contextmanager
def _running(work: Pipeline[int], world: World) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work.run, world.stop)
        try:
            yield
        finally:
            world.stop.set()
        running.result()


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _fingerprint(file: Path) -> Fingerprint:
    return Fingerprint.of(file.lstat())


def test_the_same_file_sent_again_is_counted_and_not_asked_about(world: World) -> None:
    """A folder that is copied three times: the model works once, and nothing is told a second time."""
    world.rules = replace(world.rules, skips_duplicates=True)
    asked: list[int] = []
    world.captioner.before = asked.append
    with world.opened() as work:
        for _ in range(3):
            world.drop(*range(20, 26))
            work.run(world.stop, once=True)
    assert sorted(asked) == list(range(20, 26))
    assert len(world.told) == 6
    assert (world.tally.done, world.tally.duplicates) == (6, 12)
    assert world.done() == {f"{width}.png" for width in range(20, 26)}
    assert not list((world.root / "inbox").glob("*.png"))
