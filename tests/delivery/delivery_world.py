"""Four real folders, a delivery over them, and what must be true of them when all is quiet."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captiond import sidecar
from captiond.delivery import Delivery, moves
from captiond.delivery.attempts import Attempts
from captiond.errors import Kind, Rejected
from captiond.records import (
    NO_NOTES,
    Answer,
    AskAll,
    CaptionRequest,
    Delivered,
    Describe,
    Described,
    Fingerprint,
    Job,
    ModelIdentity,
    Notes,
    Notice,
    PictureFacts,
    Rules,
    Said,
    SettledFile,
    Stamp,
    Texts,
    Timings,
    Written,
)
from captiond.sidecar import Record

MOVES: dict[str, moves.Move] = {
    "flagged": moves.flagged,
    "linked": moves.linked,
    "reserved": moves.reserved,
}


def apart(source: int, name: str, target: int, new_name: str) -> None:
    """Two volumes: only what lies in a `.captiond/` can be moved, since that lies where it is to go."""
    if ".captiond" not in Path(f"/proc/self/fd/{source}").readlink().parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    moves.flagged(source, name, target, new_name)


def picky(source: int, name: str, target: int, new_name: str) -> None:
    """A file system that does not hold some names."""
    if new_name.startswith("photo."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    moves.flagged(source, name, target, new_name)


STAMP = Stamp(datetime(2026, 11, 23, 10, 0, tzinfo=UTC), "0.1.0")
WORDS = "Two dogs run along a beach at sunset."
NEW_WORDS = "Rex and Ada at Skagen, August 2019."
REQUEST = CaptionRequest("Describe what is shown in this image.", 160)
LATER = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)


def embed(
    data: bytes, _format: str, texts: Texts, /, *, notes: Notes = NO_NOTES, own: Texts | None = None
) -> Described:
    """Lays a caption into bytes that no decoder will ever see, in the place of what is its own."""
    if own is not None:
        data = data.removesuffix(b"\0" + own.caption.encode())
    return Described(data + b"\0" + texts.caption.encode(), (Written("exif:ImageDescription", "wrote"),))


def embed_beside(
    data: bytes, _format: str, texts: Texts, /, *, notes: Notes = NO_NOTES, own: Texts | None = None
) -> Described:
    """Lays it into the .xmp as well, if there is one, and makes a .txt of it."""
    xmp = None if notes.xmp is None else embed(notes.xmp, _format, texts, own=own).data
    return replace(embed(data, _format, texts, own=own), xmp=xmp, text=texts.caption.encode())


def never_asked(ask_all: AskAll, facts: PictureFacts, /) -> Said:
    raise AssertionError("a delivery asks no model")


def rules(**changes: Any) -> Rules:
    values: dict[str, Any] = {
        "interview": never_asked,
        "describe": embed,
        "max_pixels": 1_000_000,
        "max_file_bytes": 1_000_000,
        "attempts": 3,
    }
    return Rules(**values | changes)


def caption(text: str = WORDS, **changes: Any) -> Answer:
    values: dict[str, Any] = {
        "raw_output": None,
        "model": ModelIdentity("demo", "transformers"),
        "request": REQUEST,
        "prompt_tokens": 790,
        "new_tokens": 9,
        "finish_reason": "stop",
        "notices": (),
    }
    return Answer(text=text, **values | changes)


def said(text: str = WORDS, **changes: Any) -> Said:
    return Said(Texts(text), caption(text, **changes))


FACTS = PictureFacts("JPEG", 40, 30, (Notice("rotated", "turned upright"),))


def record_for(job: Job, described: Described, text: str = WORDS, *, awaits_approval: bool = False) -> Record:
    timings = Timings(0.1, 0.2, 0.3, 0.4)
    return sidecar.compose(job, FACTS, said(text), described, timings, STAMP, awaits_approval=awaits_approval)


@dataclass
class World:
    """`asked` counts what a model would have been asked for, `embedded` what was laid into bytes."""

    inbox: Path
    done: Path
    failed: Path
    state: Path
    move: moves.Move = moves.move
    embed: Describe = embed
    asked: int = 0
    embedded: int = 0
    awaits_approval: bool = False  # what is delivered
    dropped: dict[str, bytes] = field(default_factory=dict)
    beside: dict[str, bytes] = field(default_factory=dict)  # what is to travel with what was dropped

    @classmethod
    def at(cls, root: Path, **changes: Any) -> World:
        folders = {name: root / name for name in ("inbox", "done", "failed", "state")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return cls(**folders | changes)

    def delivery(
        self,
        counting: Attempts | None = None,
        *,
        move: moves.Move | None = None,
        exchange: moves.Move | None = None,
        clock: Callable[[], float] = time.monotonic,
        **changes: Any,
    ) -> Delivery:
        """`changes`: of the rules."""
        move = move or self.move
        knows_exchange = move in (moves.move, moves.flagged)

        def counted(data: bytes, kind: str, texts: Texts, /, **more: Any) -> Described:
            self.embedded += 1
            return self.embed(data, kind, texts, **more)

        these = rules(**{"describe": counted} | changes)
        return Delivery(
            self.inbox,
            self.done,
            self.failed,
            Attempts(self.state) if counting is None else counting,
            lambda _: these,
            clock=clock,
            move=move,
            exchange=exchange or (moves.exchange if knows_exchange else no_exchange),
        )

    @contextmanager
    def opened(self, **changes: Any) -> Iterator[Delivery]:
        with ExitStack() as closing:
            counting = Attempts(self.state)
            closing.callback(counting.close)
            delivery = self.delivery(counting, **changes)
            delivery.open()
            closing.callback(delivery.close)
            yield delivery

    def drop(self, path: str, data: bytes = b"a picture") -> SettledFile:
        file = self.inbox / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.dropped[path] = data
        return self.settled(path)

    def drop_beside(self, path: str, data: bytes) -> Path:
        """A file that is to travel with a picture."""
        file = self.inbox / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.beside[path] = data
        return file

    def settled(self, path: str) -> SettledFile:
        return SettledFile(path, Fingerprint.of((self.inbox / path).lstat()), noticed_at=0.0)

    def caption(self, delivery: Delivery, settled: SettledFile, text: str = WORDS) -> Delivered:
        claimed = delivery.claim(settled)
        return claimed if isinstance(claimed, Delivered) else self.publish(delivery, claimed, text)

    def claim(self, delivery: Delivery, settled: SettledFile) -> Job:
        """Of a picture of which nothing was begun."""
        job = delivery.claim(settled)
        assert isinstance(job, Job)
        return job

    def publish(self, delivery: Delivery, job: Job, text: str = WORDS) -> Delivered:
        self.asked += 1
        described = Described.untouched(job.data)
        if not self.awaits_approval:
            described = self.embed(job.data, "JPEG", Texts(text), notes=job.notes)
        record = record_for(job, described, text, awaits_approval=self.awaits_approval)
        return delivery.publish(job, described, record)

    def reject(self, delivery: Delivery, settled: SettledFile, kind: Kind = "unreadable") -> Delivered:
        why = Rejected(kind, "it is no image", stage="decode", advice="Look at it.")
        return delivery.set_aside(settled.path, settled.fingerprint, why, 1, STAMP)[0]

    def work_off(self, delivery: Delivery) -> None:
        """What the daemon does with whatever lies in the inbox; it passes over what is empty."""
        for path in users_files(self.inbox):
            if path not in self.beside and (self.inbox / path).stat().st_size:
                self.caption(delivery, self.settled(path))

    def check_quiet(self, *, may_lie_in_inbox: frozenset[str] = frozenset()) -> None:
        """Every picture lies in one of done/ and failed/, as its record says, and nothing is left over."""
        assert set(users_files(self.inbox)) <= may_lie_in_inbox
        found: list[bytes] = []
        came_along: list[tuple[str, bytes]] = []
        for place, suffix in ((self.done, ".caption.json"), (self.failed, ".error.json")):
            files = users_files(place)
            records = {path for path in files if path.endswith(suffix)}
            accounted = {path.removesuffix(suffix) for path in records} | records
            for path in records:
                record = json.loads((place / path).read_bytes())
                image = (place / path.removesuffix(suffix)).read_bytes()
                text = None if awaits_approval(record) else record.get("caption")
                original = image if text is None else image.removesuffix(b"\0" + text.encode())
                published = record.get("published", record["source"])["sha256"]
                assert hashlib.sha256(image).hexdigest() == published
                assert hashlib.sha256(original).hexdigest() == record["source"]["sha256"]
                found.append(original)
                for dropped, there, data in _beside(place, path.removesuffix(suffix), record):
                    came_along.append((dropped, data))
                    accounted.add(there)
                stem = os.path.splitext(path.removesuffix(suffix))[0]  # noqa: PTH122 - not UTF-8 perhaps
                if text is not None and (place / f"{stem}.txt").exists() and self.embed is embed_beside:
                    assert (place / f"{stem}.txt").read_bytes() == text.encode()
                    accounted.add(f"{stem}.txt")
            assert set(files) == accounted
        assert sorted(found) == sorted(
            data for path, data in self.dropped.items() if path not in may_lie_in_inbox
        )
        assert sorted(came_along) == sorted(
            item for item in self.beside.items() if item[0] not in may_lie_in_inbox
        )
        for place in (self.inbox, self.done, self.failed):
            left = set(_all_files(place / ".captiond")) - {"lock"}
            assert not left, left


def awaits_approval(record: dict[str, Any]) -> bool:
    return bool(record.get("approval", {}).get("state") == "waiting")


def no_exchange(source: int, name: str, target: int, new_name: str) -> None:
    """What a file system without it answers."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)


def _beside(place: Path, image: str, record: dict[str, Any]) -> Iterator[tuple[str, str, bytes]]:
    """Of each file that came along: its path in the inbox, its path now, and its bytes as dropped."""
    source = record["source"]["path"]
    folder = f"{source.rpartition('/')[0]}/" if "/" in source else ""
    for told in record.get("companions", ()):
        dropped = folder + told["name"]
        there = image + dropped.removeprefix(source)
        if not dropped.startswith(source):
            stems = (os.path.splitext(path)[0] for path in (source, image))  # noqa: PTH122 - as above
            there = dropped.replace(*stems, 1)
        data = (place / there).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (told["sha256"], told["bytes"])
        if told["action"] == "merged":
            data = data.removesuffix(b"\0" + record["caption"].encode())
        yield dropped, there, data


def users_files(folder: Path) -> list[str]:
    return [path for path in _all_files(folder) if not path.startswith(".captiond/")]


def _all_files(folder: Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118 - names that are not UTF-8
        for parent, _, names in os.walk(folder)
        for name in names
    )
