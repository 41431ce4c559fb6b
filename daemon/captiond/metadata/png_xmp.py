"""XMP in a PNG: one iTXt chunk is replaced where it stands, or put before the image data.

XMP Specification, part 3, 1.1.5, gives its keyword, and wants it uncompressed; Portable Network Graphics
(Third Edition), 11.3.3.4, lays out what stands before the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .png import TEXTS, XMP, Chunk, Png, payload_of, read_chunks
from .refusal import Refused, all_of

_ITXT = b"iTXt"
_PREFIX = XMP + b"\0" + b"\0\0" + b"\0" + b"\0"  # uncompressed, no language, no translated keyword
_RAW_XMP = b"Raw profile type xmp"  # ImageMagick's


@dataclass(frozen=True, slots=True)
class PngXmp:
    """A PNG file that can be written into, and the chunk of its packet."""

    png: Png
    chunk: Chunk | None
    prefix: bytes

    @classmethod
    def read(cls, data: bytes) -> Self:
        png = Png.read(data)
        chunk = _only_xmp(data, png.chunks)
        if chunk is None:
            return cls(png, None, _PREFIX)
        if not png.has_sound_crc(chunk):
            raise Refused("its XMP chunk has a wrong CRC")
        return cls(png, chunk, _prefix(payload_of(data, chunk)))

    @property
    def packet(self) -> bytes | None:
        return payload_of(self.png.data, self.chunk)[len(self.prefix) :] if self.chunk else None

    def with_packet(self, packet: bytes) -> bytes:
        payload = self.prefix + packet
        if self.chunk and self.png.is_amid_image_data(self.chunk):
            raise Refused("its XMP stands amid its image data")
        return self.png.with_chunk(self.chunk, _ITXT, payload)

    def prove(self, data: bytes, packet: bytes) -> None:
        """Refuse `data` unless it is this file but for one chunk, and that one holds `packet`."""
        chunks = all_of(read_chunks(data))
        chunk = _only_xmp(data, chunks)
        if chunk is None or payload_of(data, chunk) != self.prefix + packet:
            raise Refused("the new XMP does not read back")
        self.png.prove_others(self.chunk, data, chunks, chunk)


def _only_xmp(data: bytes, chunks: tuple[Chunk, ...]) -> Chunk | None:
    found = []
    for chunk in chunks:
        if chunk.type in TEXTS:
            keyword = data[chunk.payload : min(chunk.end, chunk.payload + 80)].partition(b"\0")[0]
            if keyword == _RAW_XMP or (keyword == XMP and chunk.type != _ITXT):
                raise Refused("its XMP is not in an iTXt chunk")
            if keyword == XMP:
                found.append(chunk)
    if len(found) > 1:
        raise Refused("it has more than one XMP chunk")
    return found[0] if found else None


def _prefix(payload: bytes) -> bytes:
    """What stands before the packet: keyword, compression, language, translated keyword."""
    flags = len(XMP) + 1
    if payload[flags : flags + 1] == b"\1":
        raise Refused("its XMP is compressed")
    language_end = payload.find(b"\0", flags + 2)
    end = payload.find(b"\0", language_end + 1)
    if language_end < 0 or end < 0:
        raise Refused("its XMP chunk is truncated")
    return payload[: end + 1]
