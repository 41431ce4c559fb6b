"""HEIC and AVIF: finding the EXIF block among a file's items, and proving that all else stayed as it was.

ISO/IEC 14496-12 (boxes), 23008-12 (HEIF; annex A.2.1 is the Exif item).  Putting a block into such a file
moves its items, so another program does it (`Place`); its result counts only if the proof holds: every other
item, property, reference and byte of data is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import tiff
from .heif_boxes import Item, Meta, boxes
from .refusal import Refused

Place = Callable[[bytes, bytes], bytes]  # a file and a TIFF block -> the file with this block for its EXIF

# Other boxes, such as a motion photo's film or a sequence's tables, may hold offsets to places that move.
_KNOWN = (b"ftyp", b"meta", b"mdat", b"free", b"skip")
_PREFIXES = (bytes(4), b"\0\0\0\x06Exif\0\0")


@dataclass(frozen=True, slots=True)
class Heif:
    """A still HEIC or AVIF file, its items, and the TIFF block of the one Exif item if there is one."""

    data: bytes
    meta: Meta
    exif: Item | None
    block: tiff.Block | None
    place: Place

    @classmethod
    def read(cls, data: bytes, place: Place) -> Heif:
        tops = list(boxes(data, 0, len(data)))
        strange = next((kind for kind, _, _ in tops if kind not in _KNOWN), None)
        if strange is not None:
            raise Refused(
                f"it has a box {strange.decode('latin-1')!r}, which may count to places in the file"
            )
        metas = [(start, end) for kind, start, end in tops if kind == b"meta"]
        if len(metas) != 1:
            raise Refused("it has not exactly one meta box")
        meta = Meta.read(data, *metas[0])
        exifs = [item for item in meta.items.values() if item.kind == b"Exif"]
        if len(exifs) > 1:
            raise Refused("it has more than one EXIF block")
        exif = exifs[0] if exifs else None
        return cls(data, meta, exif, tiff.parse(exif_block(exif.bytes_in(data))) if exif else None, place)

    def with_block(self, block: bytes) -> bytes:
        return self.place(self.data, block)

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is this file with `block` for its EXIF, and nothing else changed."""
        new = Heif.read(data, self.place)
        if new.exif is None or exif_block(new.exif.bytes_in(data)) != block:
            raise Refused("exiftool did not write the caption")
        if new.exif.bytes_in(data).removesuffix(block) not in (*_PREFIXES, self._prefix()):
            raise Refused("exiftool put something before the EXIF")
        if self.exif and self.exif.entry != new.exif.entry:
            raise Refused("exiftool changed the entry of the EXIF")
        self._prove_items(new)
        if list(self._other_boxes()) != list(new._other_boxes()):
            raise Refused("exiftool changed other boxes or data")

    def _prefix(self) -> bytes:
        if self.exif is None:
            return b""
        return self.exif.bytes_in(self.data).removesuffix(exif_block(self.exif.bytes_in(self.data)))

    def _prove_items(self, new: Heif) -> None:
        exif_id = new.exif.id if new.exif else 0
        if not self.exif and exif_id in self.meta.items:
            raise Refused("exiftool changed what an item is")
        others = [{id: item for id, item in one.meta.items.items() if id != exif_id} for one in (self, new)]
        if list(others[0]) != list(others[1]):
            raise Refused("exiftool changed the list of items")
        for old_item, new_item in zip(others[0].values(), others[1].values(), strict=True):
            if not old_item.is_same(self.data, new_item, new.data):
                raise Refused(f"exiftool changed item {old_item.id}")
        added = [reference for reference in new.meta.references if reference not in self.meta.references]
        kept = [reference for reference in new.meta.references if reference not in added]
        expected = [] if self.exif else [(b"cdsc", exif_id, (self.meta.primary,))]
        if kept != list(self.meta.references) or added != expected:
            raise Refused("exiftool changed the references between items")
        if self.meta.others != new.meta.others or self.meta.primary != new.meta.primary:
            raise Refused("exiftool changed the properties of the image")

    def _other_boxes(self) -> Iterator[tuple[bytes, bytes]]:
        """The boxes around `meta`, in their order, without the bytes of the Exif item."""
        holes = sorted(self.exif.extents) if self.exif else []
        for kind, start, end in boxes(self.data, 0, len(self.data)):
            if kind == b"meta":
                yield kind, b""
                continue
            kept, at = [], start
            for hole_start, hole_end in holes:
                if start <= hole_start and hole_end <= end:
                    kept.append(self.data[at : max(at, hole_start)])
                    at = max(at, hole_end)
            yield kind, b"".join((*kept, self.data[at:end]))


def exif_block(payload: bytes) -> bytes:
    """ISO/IEC 23008-12, A.2.1: four bytes say how many bytes stand before the TIFF header."""
    return payload[4 + int.from_bytes(payload[:4], "big") :]
