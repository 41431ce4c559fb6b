"""Four real folders, a delivery over them, and what must be true of them when all is quiet."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captiond import sidecar
from captiond.delivery import Delivery, Describe, moves
from captiond.delivery.attempts import Attempts
from captiond.errors import Rejected
from captiond.records import (
    NO_NOTES,
    Caption,
    CaptionRequest,
    Delivered,
    Described,
    Fingerprint,
    Job,
    ModelIdentity,
    Notes,
    Notice,
    PictureFacts,
    SettledFile,
    Stamp,
    Timings,
    Written,
)

MOVES: dict[str, moves.Move] = {
    "flagged": moves.flagged,
    "linked": moves.linked,
    "reserved": moves.reserved,
}
STAMP = Stamp(datetime(2026, 11, 23, 10, 0, tzinfo=UTC), "0.1.0")
WORDS = "Two dogs run along a beach at sunset."
NEW_WORDS = "Rex and Ada at Skagen, August 2019."
LATER = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)


def embed(
    data: bytes, _format: str, caption: str, /, *, notes: Notes = NO_NOTES, own: Collection[str] = ()
) -> Described:
    """Lays a caption into bytes that no decoder will ever see, in the place of what is its own."""
    for said in own:
        data = data.removesuffix(b"\0" + said.encode())
    return Described(data + b"\0" + caption.encode(), (Written("exif:ImageDescription", "wrote"),))


def embed_beside(
    data: bytes, _format: str, caption: str, /, *, notes: Notes = NO_NOTES, own: Collection[str] = ()
) -> Described:
    """Lays it into the .xmp as well, if there is one, and makes a .txt of it."""
    xmp = None if notes.xmp is None else embed(notes.xmp, _format, caption, own=own).data
    return replace(embed(data, _format, caption, own=own), xmp=xmp, text=caption.encode())


def caption(text: str = WORDS, **changes: Any) -> Caption:
    values: dict[str, Any] = {
        "raw_output": None,
        "model": ModelIdentity("demo", "transformers"),
        "request": CaptionRequest("Describe what is shown in this image.", 160),
        "prompt_tokens": 790,
        "new_tokens": 9,
        "finish_reason": "stop",
        "notices": (),
    }
    return Caption(text=text, **values | changes)


FACTS = PictureFacts("JPEG", 40, 30, (Notice("rotated", "turned upright"),))


def record_for(job: Job, described: Described, text: str = WORDS) -> bytes:
    return sidecar.compose(job, FACTS, caption(text), described, Timings(0.1, 0.2, 0.3, 0.4), STAMP)


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
    dropped: dict[str, bytes] = field(default_factory=dict)
    beside: dict[str, bytes] = field(default_factory=dict)  # what is to travel with what was dropped

    @classmethod
    def at(cls, root: Path, **changes: Any) -> World:
        folders = {name: root / name for name in ("inbox", "done", "failed", "state")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return cls(**folders | changes)

    def delivery(self, **changes: Any) -> Delivery:
        def counted(data: bytes, kind: str, text: str, /, **more: Any) -> Described:
            self.embedded += 1
            return self.embed(data, kind, text, **more)

        values: dict[str, Any] = {
            "inbox": self.inbox,
            "done": self.done,
            "failed": self.failed,
            "attempts": Attempts(self.state),
            "attempt_limit": 3,
            "max_file_bytes": 1_000_000,
            "embed": counted,
            "move": self.move,
            "exchange": moves.exchange if self.move in (moves.move, moves.flagged) else no_exchange,
        }
        return Delivery(**values | changes)

    @contextmanager
    def opened(self, **changes: Any) -> Iterator[Delivery]:
        with ExitStack() as closing:
            attempts = changes.setdefault("attempts", Attempts(self.state))
            closing.callback(attempts.close)
            delivery = self.delivery(**changes)
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
        job = delivery.claim(settled)
        return self.publish(delivery, job, text)

    def publish(self, delivery: Delivery, job: Job, text: str = WORDS) -> Delivered:
        self.asked += 1
        described = self.embed(job.data, "JPEG", text, notes=job.notes)
        return delivery.publish(job, described, record_for(job, described, text))

    def reject(self, delivery: Delivery, settled: SettledFile, kind: str = "unreadable") -> Delivered:
        why = Rejected(kind, "it is no image", stage="decode", advice="Look at it.")
        return delivery.set_aside(settled.path, settled.fingerprint, why, 1, STAMP)

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
                text = record.get("caption")
                original = image if text is None else image.removesuffix(b"\0" + text.encode())
                published = record.get("published", record["source"])["sha256"]
                assert hashlib.sha256(image).hexdigest() == published
                assert hashlib.sha256(original).hexdigest() == record["source"]["sha256"]
                found.append(original)
                for dropped, there, data in _beside(place, path.removesuffix(suffix), record):
                    came_along.append((dropped, data))
                    accounted.add(there)
                stem = os.path.splitext(path.removesuffix(suffix))[0]  # noqa: PTH122 - not UTF-8 perhaps
                if (place / f"{stem}.txt").exists() and self.embed is embed_beside:
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
