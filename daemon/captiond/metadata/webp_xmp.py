"""XMP in a WebP: one chunk is replaced where it stands, or put behind EXIF; VP8X says that it is there.

RFC 9649, 2.7.1.5, and XMP Specification, part 3, 1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .refusal import Refused, all_of
from .webp import HAS_XMP, XMP, Chunk, WebP, payload_of, read_chunks


@dataclass(frozen=True, slots=True)
class WebPXmp:
    """A WebP file that can be written into, and the chunk of its packet."""

    webp: WebP
    chunk: Chunk | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        webp = WebP.read(data)
        chunk = _only_xmp(webp.chunks)
        if chunk and webp.chunks[0].type != b"VP8X":
            raise Refused("it has XMP, and no header that says so")
        return cls(webp, chunk)

    @property
    def packet(self) -> bytes | None:
        return payload_of(self.webp.data, self.chunk) if self.chunk else None

    def with_packet(self, packet: bytes) -> bytes:
        return self.webp.with_chunk(XMP, HAS_XMP, self.chunk, packet)

    def prove(self, data: bytes, packet: bytes) -> None:
        """Refuse `data` unless it is this file but for XMP and VP8X, and XMP holds `packet`."""
        chunks = all_of(read_chunks(data))
        chunk = _only_xmp(chunks)
        if chunk is None or payload_of(data, chunk) != packet:
            raise Refused("the new XMP does not read back")
        self.webp.prove_others(XMP, HAS_XMP, data, chunks)


def _only_xmp(chunks: tuple[Chunk, ...]) -> Chunk | None:
    found = [chunk for chunk in chunks if chunk.type == XMP]
    if len(found) > 1:
        raise Refused("it has more than one XMP chunk")
    return found[0] if found else None
