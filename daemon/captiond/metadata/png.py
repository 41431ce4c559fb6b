"""PNG: the eXIf chunk is patched where it stands, or put before the image data.

Portable Network Graphics (Third Edition): 5.3 lays out the chunks, 11.3.4.5 describes eXIf, which stands
anywhere but between two IDAT chunks, and only once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Self

from . import tiff
from .refusal import Refused, all_of, is_same

_SIGNATURE = b"\x89PNG\r\n\x1a\n"  # 5.2
_HEAD = Struct(">I4s")
_CRC = Struct(">I")

EXIF = b"eXIf"
_OLD_PREFIX = b"Exif\0\0"  # some writers put JPEG's header before the block
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})  # 11.3.3
_SIGNED = frozenset({b"caBX", b"dSIG"})  # C2PA 2.1, A.3.2; PNG extensions 1.4, 3.2
_APPLE_INDEX = b"iDOT"  # counts from itself to an IDAT, so that Apple can decode two halves at once
XMP = b"XML:com.adobe.xmp"  # XMP Specification, part 3, 1.1.5
_RAW_EXIF = frozenset(
    {b"Raw profile type exif", b"Raw profile type APP1"}
)  # ImageMagick's, before there was eXIf


class Chunk(NamedTuple):
    """A chunk, from its length to its CRC."""

    start: int
    type: bytes
    payload: int
    end: int


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file whose chunks up to IEND are known."""

    data: bytes
    chunks: tuple[Chunk, ...]
    exif: Chunk | None
    prefix: bytes
    block: tiff.Block | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        chunks = all_of(read_chunks(data))
        exif = _only_exif(chunks)
        payload = payload_of(data, exif) if exif else b""
        prefix = _OLD_PREFIX if payload.startswith(_OLD_PREFIX) else b""
        png = cls(data, chunks, exif, prefix, tiff.parse(payload[len(prefix) :]) if exif else None)
        png._refuse_what_is_not_for_us()
        return png

    def with_block(self, block: bytes) -> bytes:
        payload = self.prefix + block
        return self.with_chunk(self.exif, EXIF, payload)

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is this file but for one chunk, and that one holds `block`."""
        new = all_of(read_chunks(data))
        exif = _only_exif(new)
        if exif is None or payload_of(data, exif) != self.prefix + block:
            raise Refused("the new EXIF does not read back")
        self.prove_others(self.exif, data, new, exif)

    def with_chunk(self, old: Chunk | None, kind: bytes, payload: bytes) -> bytes:
        """The file with one chunk in the place of `old`, or put in where there is none."""
        start, end = self._place(old)
        whole, crc = memoryview(self.data), _CRC.pack(zlib.crc32(kind + payload))
        return b"".join((whole[:start], _HEAD.pack(len(payload), kind), payload, crc, whole[end:]))

    def prove_others(self, old: Chunk | None, data: bytes, chunks: tuple[Chunk, ...], new: Chunk) -> None:
        """Refuse `data` unless all but `new` is as in this file, where `old` or nothing stands."""
        start, end = self._place(old)
        longer = len(data) - len(self.data)
        if new.start != start or new.end != end + longer or _but(self.chunks, old) != _but(chunks, new):
            raise Refused("the chunks that were there would change")
        before, after = (0, start), (end, len(self.data))
        if not (is_same(self.data, *before, data, 0) and is_same(self.data, *after, data, new.end)):
            raise Refused("what lies around the chunk would change")

    def has_sound_crc(self, chunk: Chunk) -> bool:
        crc = zlib.crc32(chunk.type + payload_of(self.data, chunk))
        return bool(_CRC.unpack_from(self.data, chunk.end - _CRC.size)[0] == crc)

    def is_amid_image_data(self, chunk: Chunk) -> bool:
        """Does the chunk stand between image data, or between Apple's index and the image data?"""
        first = next(other for other in self.chunks if other.type in (b"IDAT", _APPLE_INDEX))
        last = next(other for other in reversed(self.chunks) if other.type == b"IDAT")
        return first.start < chunk.start < last.start

    def _place(self, old: Chunk | None) -> tuple[int, int]:
        """Begin and end of the chunk, or the place for it: before any chunk with an offset to an IDAT."""
        if old:
            return old.start, old.end
        first = next(chunk for chunk in self.chunks if chunk.type in (b"IDAT", _APPLE_INDEX))
        return first.start, first.start

    def _refuse_what_is_not_for_us(self) -> None:
        kinds = [chunk.type for chunk in self.chunks]
        if not _SIGNED.isdisjoint(kinds):
            raise Refused("its signature covers the bytes that would change")
        if b"zxIf" in kinds or any(keyword in _RAW_EXIF for keyword in self._keywords()):
            raise Refused("its EXIF is not in an eXIf chunk")
        if self.exif and not self.has_sound_crc(self.exif):
            raise Refused("its eXIf chunk has a wrong CRC")
        if self.exif and self.is_amid_image_data(self.exif):
            raise Refused("its EXIF stands amid its image data")

    def _keywords(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if chunk.type in TEXTS:
                yield payload_of(self.data, chunk)[:80].partition(b"\0")[0]


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks from the signature to IEND."""
    if not data.startswith(_SIGNATURE):
        raise Refused("it does not begin with the signature of PNG")
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if at + _HEAD.size + _CRC.size > len(data):
            raise Refused("it has no IEND")
        length, kind = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length + _CRC.size
        if end > len(data):
            raise Refused("it has a truncated chunk")
        yield Chunk(at, kind, at + _HEAD.size, end)
        at = end


def _only_exif(chunks: tuple[Chunk, ...]) -> Chunk | None:
    kinds = [chunk.type for chunk in chunks]
    if kinds[0] not in (b"IHDR", b"CgBI") or b"IDAT" not in kinds:
        raise Refused("it has no image data")
    if kinds.count(EXIF) > 1:
        raise Refused("it has more than one eXIf chunk")
    return chunks[kinds.index(EXIF)] if EXIF in kinds else None


def _but(chunks: tuple[Chunk, ...], one: Chunk | None) -> list[tuple[bytes, int]]:
    """The types and lengths of all chunks but one."""
    return [(chunk.type, chunk.end - chunk.start) for chunk in chunks if chunk is not one]


def payload_of(data: bytes, chunk: Chunk) -> bytes:
    return data[chunk.payload : chunk.end - _CRC.size]


def text_of(
    kind: bytes, payload: bytes, limit: int, is_wanted: Callable[[bytes], bool]
) -> tuple[bytes, bytes | None, int]:
    """The keyword and the text of a textual chunk (11.3.3), and to how many bytes it was inflated.

    The keyword is empty if it is not wanted; the text is None if it cannot be inflated within the limit.
    """
    keyword, _, text = payload.partition(b"\0")
    if not is_wanted(keyword):
        return b"", None, 0
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt":
        is_compressed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    elif is_compressed:
        text = text[1:]
    if not is_compressed:
        return keyword, text, 0
    inflated = _inflated(text, limit)
    return keyword, inflated, len(inflated or b"")


def _inflated(text: bytes, limit: int) -> bytes | None:
    if limit <= 0:  # zlib takes 0 for no limit
        return None
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(text, limit)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else inflated


def raw_profile(text: bytes) -> bytes:
    """What ImageMagick laid into a text: a name, a length, and hexadecimal digits in lines."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split()[2:]))
    except ValueError:
        return b""
