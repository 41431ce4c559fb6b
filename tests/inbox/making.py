"""Small real images of every format, and an inbox in a thread of its own."""

from __future__ import annotations

import io
import os
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pillow_heif
from PIL import Image

from captiond.commands.sentences import sentence
from captiond.inbox import Inbox
from captiond.inbox.settle import Book
from captiond.records import SettledFile

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c63600000000200014"
    "8afa4710000000049454e44ae426082"
)


def explained(teller: Inbox | Book, path: str, *now: float) -> str:
    """Where a file stands, in the words that people get."""
    standing = teller.standing(path, *now)
    return sentence(standing) if standing is not None else "not known"


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """Noise, so that the compressed data is long and has no runs."""
    return Image.frombytes(
        "RGB", (width, height), random.Random(width * height).randbytes(3 * width * height)
    )


def encoded(form: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = image or picture()
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, form, **options)
    return buffer.getvalue()


def motion_photo() -> bytes:
    """A picture with a film behind it, and XMP that tells of it."""
    film = (
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + struct.pack(">I4s", 50_008, b"mdat") + bytes(range(250)) * 200
    )
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MicroVideo="1" '
        f'GCamera:MicroVideoOffset="{len(film)}"/></rdf:RDF></x:xmpmeta>'
    )
    return encoded("JPEG", picture(300, 200), xmp=xmp.encode()) + film


def put(path: Path, data: bytes = PNG) -> Path:
    """A file that appears under its name at once, as by rename from elsewhere on the same disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = path.parents[0] / f".{os.urandom(4).hex()}"
    elsewhere.write_bytes(data)
    elsewhere.rename(path)
    return path


def an_inbox(root: Path, **settings: object) -> Inbox:
    values: dict[str, object] = {
        "settle_seconds": 0.2,
        "incomplete_after_seconds": 600.0,
        "rescan_seconds": 10.0,
        "poll_interval_seconds": 0.1,
    }
    return Inbox(root, **(values | settings))  # type: ignore[arg-type]


class Taker:
    """Takes what an inbox gives, in a thread; unless told to keep the files, delivers them all to nowhere."""

    def __init__(self, inbox: Inbox, root: Path, *, once: bool = False, keep: bool = False) -> None:
        self.inbox = inbox
        self.taken: list[SettledFile] = []
        self.times: dict[str, float] = {}
        self.error: BaseException | None = None
        self._root = root
        self._keep = keep
        self._once = once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def paths(self) -> list[str]:
        return [settled.path for settled in self.taken]

    def _run(self) -> None:
        try:
            for settled in self.inbox.settled(self._stop, once=self._once):
                self.times[settled.path] = time.monotonic()
                self.taken.append(settled)
                if not self._keep:
                    (self._root / settled.path).unlink()
                    self.inbox.done(settled.path)
        except BaseException as error:
            self.error = error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def wait_for_end(self, seconds: float = 10) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it still waits"


@contextmanager
def taking(
    root: Path, *, once: bool = False, keep: bool = False, **settings: object
) -> Iterator[tuple[Inbox, Taker]]:
    """A started inbox whose files are taken as they come."""
    inbox = an_inbox(root, **settings)
    inbox.start()
    taker = Taker(inbox, root, once=once, keep=keep)
    taker.start()
    try:
        yield inbox, taker
    finally:
        taker.stop()
        inbox.close()
    if taker.error is not None:
        raise taker.error


def until(is_so: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes so in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if is_so():
            return True
        time.sleep(0.005)
    return is_so()
