"""Is the container whole?  Told by content, not by name, from a few blocks of an open file.

Reads the head, the tail and what lies on the way through the container's structure; never the whole of
a large file, and never more than the budget of a look.  A good picture must never fail here: what is not
certainly cut short is, after a while, left to the decoder, and so is content that none of this knows.
"""

from __future__ import annotations

from collections.abc import Callable

from captiond.inbox.whole import bmp, boxes, chunks, foreign, gif, jpeg, tiff
from captiond.inbox.whole.reading import BLOCK, Cut, File, Lack, TooComplex
from captiond.records import Fault

__all__ = ["Lack", "find_fault", "find_lack"]

_SHORTEST = 26  # bytes; no picture is smaller (BMP's headers)


def find_fault(descriptor: int, size: int) -> Fault | None:
    """What the file is, if its first bytes say that it is something else than a picture."""
    name = foreign.name_of(File(descriptor, size).read(0, min(size, BLOCK)))
    if name is None:
        return None
    return Fault(
        "unreadable",
        f"it is {name}, not a picture",
        advice="Give it the ending that it should have, and it is left alone; or remove it.",
    )


def find_lack(descriptor: int, size: int) -> Lack | None:
    """What the file lacks to be whole; None if nothing, or if its content is not known here."""
    if size == 0:
        return Lack("it is empty")
    if size < _SHORTEST:
        return Lack(f"{size} bytes are too few for any picture")
    file = File(descriptor, size)
    head = file.read(0, min(size, BLOCK))
    if not head.strip(b"\0"):
        return Lack("it begins with zeros where its data is still to come")
    for name, is_this, check in _FORMATS:
        if is_this(head):
            try:
                return check(file)
            except Cut:
                return Lack(f"{name} data is cut short")
            except TooComplex:
                return _too_complex(name)
    return None


def _too_complex(name: str) -> Lack:
    reason = f"this {name} has more parts than any picture needs"
    advice = "Open it in an image editor and save it anew; `captiond retry` would find the same again."
    return Lack(reason, fault=Fault("too_complex", reason, advice=advice))


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[File], Lack | None]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff"), jpeg.check),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), chunks.png),
    ("WebP", lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", chunks.webp),
    ("TIFF", lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), tiff.check),
    ("HEIF", lambda head: head[4:8] == b"ftyp", boxes.check),
    ("GIF", lambda head: head[:6] in (b"GIF87a", b"GIF89a"), gif.check),
    ("BMP", lambda head: head.startswith(b"BM"), bmp.check),
    ("DIB", bmp.is_bare, bmp.bare),
)
