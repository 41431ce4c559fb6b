"""WebP: the EXIF chunk is patched where it stands, or put behind the image data; VP8X says that it is there.

RFC 9649, section 2, lays out the chunks; a simple file has no place for EXIF and becomes an extended one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Self

from . import tiff
from .refusal import Refused, all_of, is_same

_RIFF = Struct("<4sI4s")  # 2.4
_HEAD = Struct("<4sI")  # 2.3
_EXTENDED = Struct("<B3x6s")  # 2.7: flags, width and height less one in 24 bits each
_HAS_ALPHA, _HAS_EXIF, HAS_XMP = 0x10, 0x08, 0x04

EXIF, XMP, _VP8X, _SIMPLE = b"EXIF", b"XMP ", b"VP8X", (b"VP8 ", b"VP8L")
_IMAGE = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_OLD_PREFIX = b"Exif\0\0"  # some writers put JPEG's header before the block


class Chunk(NamedTuple):
    """A chunk, from its FourCC to its padding."""

    start: int
    type: bytes
    payload: int
    size: int
    end: int


@dataclass(frozen=True, slots=True)
class WebP:
    """A WebP file whose chunks are known."""

    data: bytes
    chunks: tuple[Chunk, ...]
    exif: Chunk | None
    prefix: bytes
    block: tiff.Block | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        chunks = all_of(read_chunks(data))
        exif = _only_exif(chunks)
        if any(chunk.type == b"C2PA" for chunk in chunks):
            raise Refused("its C2PA manifest signs the bytes that would change")
        payload = payload_of(data, exif) if exif else b""
        prefix = _OLD_PREFIX if payload.startswith(_OLD_PREFIX) else b""
        return cls(data, chunks, exif, prefix, tiff.parse(payload[len(prefix) :]) if exif else None)

    def with_block(self, block: bytes) -> bytes:
        return self.with_chunk(EXIF, _HAS_EXIF, self.exif, self.prefix + block)

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is this file but for EXIF and VP8X, and EXIF holds `block`."""
        new = all_of(read_chunks(data))
        exif = _only_exif(new)
        if exif is None or payload_of(data, exif) != self.prefix + block:
            raise Refused("the new EXIF does not read back")
        self.prove_others(EXIF, _HAS_EXIF, data, new)

    def with_chunk(self, kind: bytes, flag: int, old: Chunk | None, payload: bytes) -> bytes:
        """The file with one chunk in the place of `old`, or put in where there is none, and its flag set."""
        chunk = b"".join((_HEAD.pack(kind, len(payload)), payload, bytes(len(payload) % 2)))
        extended, first = self._extended(flag)
        start, end = self._place(old)
        whole, last = memoryview(self.data), self.chunks[-1].end
        size = 4 + len(extended) + (start - first) + len(chunk) + (last - end)
        if size >= 1 << 32:
            raise Refused("its length cannot be counted any further")
        riff = _RIFF.pack(b"RIFF", size, b"WEBP")
        return b"".join((riff, extended, whole[first:start], chunk, whole[end:]))

    def prove_others(self, kind: bytes, flag: int, data: bytes, new: tuple[Chunk, ...]) -> None:
        """Refuse `data` unless all but the chunk of this kind and its flag is as in this file."""
        if payload_of(data, new[0]) != self._extended(flag)[0][_HEAD.size :]:
            raise Refused("the header would change")
        before, after = _but(self.chunks, kind), _but(new, kind)
        if [chunk.type for chunk in before] != [chunk.type for chunk in after]:
            raise Refused("the order of the chunks would change")
        trailer, new_trailer = self.chunks[-1].end, new[-1].end
        if len(self.data) - trailer != len(data) - new_trailer:
            raise Refused("what lies behind the image would change")
        spans = [(old.start, old.end, now.start) for old, now in zip(before, after, strict=True)]
        spans.append((trailer, len(self.data), new_trailer))
        if not all(is_same(self.data, start, end, data, now) for start, end, now in spans):
            raise Refused("the chunks that were there would change")

    def _extended(self, flag: int) -> tuple[bytes, int]:
        """The VP8X chunk for the new file, and where the rest begins behind the old one."""
        first = self.chunks[0]
        if first.type == _VP8X:
            flags, size = _EXTENDED.unpack_from(self.data, first.payload)
            flagged = bytes((flags | flag,)) + self.data[first.payload + 1 : first.end]
            return _HEAD.pack(_VP8X, first.size) + flagged, first.end
        width, height, has_alpha = _canvas(first.type, payload_of(self.data, first))
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        flags = flag | (_HAS_ALPHA if has_alpha else 0)
        return _HEAD.pack(_VP8X, _EXTENDED.size) + _EXTENDED.pack(flags, size), first.start

    def _place(self, old: Chunk | None) -> tuple[int, int]:
        """Begin and end of a chunk, or the place for it: behind the image, EXIF before XMP (2.7)."""
        if old:
            return old.start, old.end
        last = self.exif or next(chunk for chunk in reversed(self.chunks) if chunk.type in _IMAGE)
        return last.end, last.end


def _but(chunks: tuple[Chunk, ...], kind: bytes) -> list[Chunk]:
    """All chunks but those of one kind, and the header."""
    return [chunk for chunk in chunks if chunk.type not in (kind, _VP8X)]


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of the RIFF file; there may be bytes behind it."""
    if len(data) < _RIFF.size:
        raise Refused("it has no RIFF header")
    riff, size, form = _RIFF.unpack_from(data)
    if riff != b"RIFF" or form != b"WEBP":
        raise Refused("it has no RIFF header of WebP")
    at, last = _RIFF.size, 8 + size
    if last > len(data):
        raise Refused("it is truncated")
    while at < last:
        if at + _HEAD.size > last:
            raise Refused("it has bytes that are no chunk")
        kind, length = _HEAD.unpack_from(data, at)
        payload = at + _HEAD.size
        end = payload + length + length % 2
        if end > last:
            raise Refused("it has a truncated chunk")
        yield Chunk(at, kind, payload, length, end)
        at = end


def _only_exif(chunks: tuple[Chunk, ...]) -> Chunk | None:
    kinds = [chunk.type for chunk in chunks]
    if _IMAGE.isdisjoint(kinds):
        raise Refused("it has no image data")
    if kinds[0] != _VP8X and (kinds[0] not in _SIMPLE or EXIF in kinds):
        raise Refused("it does not begin with its image or with VP8X")
    if kinds.count(_VP8X) > 1 or kinds.count(EXIF) > 1:
        raise Refused("it has more than one EXIF or VP8X chunk")
    if kinds[0] == _VP8X and chunks[0].size < _EXTENDED.size:
        raise Refused("its VP8X chunk is too short")
    return chunks[kinds.index(EXIF)] if EXIF in kinds else None


def payload_of(data: bytes, chunk: Chunk) -> bytes:
    return data[chunk.payload : chunk.payload + chunk.size]


def _canvas(kind: bytes, image: bytes) -> tuple[int, int, bool]:
    """Width, height and whether it has alpha, for lossy (RFC 6386, 9.1) or lossless (RFC 9649, 3.4)."""
    if kind == b"VP8L":
        if len(image) < 5 or image[0] != 0x2F:
            raise Refused("its lossless image has no header")
        bits = int.from_bytes(image[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if len(image) < 10 or image[0] & 1 or image[3:6] != b"\x9d\x01\x2a":
        raise Refused("its lossy image has no header of a key frame")
    width, height = (int.from_bytes(image[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    if not width or not height:
        raise Refused("its lossy image has no size")
    return width, height, False
