"""One writer for each block that can hold a text: EXIF, XMP, IPTC.

Each lays one text at one target into a copy of the bytes, proves that nothing else changed, and returns the
text that it replaced.  `judge` has decided before, for the whole picture, whether a text may be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self
from xml.sax.saxutils import escape

from captiond import formats

from . import iptc, maker_note, policy, tiff, tiff_patch, xmp, xmp_frame
from .heif import Heif, Place
from .jpeg import Jpeg
from .jpeg_iptc import JpegIptc
from .jpeg_xmp import JpegXmp
from .keywords import Plan, Union
from .png import Png
from .png_xmp import PngXmp
from .policy import Decision
from .refusal import Refused
from .targets import EXIF_DESCRIPTION, IPTC, Target
from .tiff_file import TiffFile
from .tiff_xmp import TiffXmp
from .webp import WebP
from .webp_xmp import WebPXmp
from .xmp_frame import Property, Shape
from .xmp_lists import Listed
from .xmp_plain import Plain


class Container(Protocol):
    """A file that can hold one TIFF block, and knows whether a new one left the rest alone."""

    @property
    def block(self) -> tiff.Block | None: ...

    def with_block(self, block: bytes) -> bytes: ...

    def prove(self, data: bytes, block: bytes) -> None: ...


class PacketHolder(Protocol):
    """A file that can hold one XMP packet, and knows whether a new one left the rest alone."""

    @property
    def packet(self) -> bytes | None: ...

    def with_packet(self, packet: bytes) -> bytes: ...

    def prove(self, data: bytes, packet: bytes) -> None: ...


class Kept(Exception):
    """The text that is there stays; the message says why."""


class Skipped(Exception):
    """This picture has no such place; the message says why."""


@dataclass(frozen=True, slots=True)
class Laid:
    """The bytes with the text at its target (the same object if it was there), and the text it replaced."""

    data: bytes
    previous: str | None = None


_READERS: Mapping[str, Callable[[bytes], Container]] = {
    "JPEG": Jpeg.read,
    "MPO": Jpeg.read,
    "PNG": Png.read,
    "TIFF": TiffFile.read,
    "WEBP": WebP.read,
}
_PLACED = tuple(one.name for one in formats.FORMATS if one.written_by == "exiftool")
_PACKETS: Mapping[str, Callable[[bytes], PacketHolder]] = {
    "JPEG": JpegXmp.read,
    "MPO": JpegXmp.read,
    "PNG": PngXmp.read,
    "TIFF": TiffXmp.read,
    "WEBP": WebPXmp.read,
}


def reader(format: str, place: Place | None) -> Callable[[bytes], Container] | None:
    """The reader of a format (Pillow's name) that can be written into; None if it cannot."""
    if place and format in _PLACED:
        return partial(Heif.read, place=place)
    return _READERS.get(format)


def lay(target: Target, text: str, union: Union, data: bytes, container: Container) -> Laid:
    """Lay the text, or the union of keywords, at its target.

    Raises: Refused, Kept or Skipped, if it is not written there.
    """
    if target.block == IPTC:
        return _into_iptc(target, text, union, data, container)
    return _into_exif(target, text, union, data, container)


def has_iptc(data: bytes, format: str) -> bool:
    """Does it hold IPTC in the one way that is written?"""
    try:
        return format in ("JPEG", "MPO") and JpegIptc.read(Jpeg.read(data)) is not None
    except Refused:
        return False


def _into_exif(target: Target, text: str, union: Union, data: bytes, container: Container) -> Laid:
    assert isinstance(target.at, int)
    is_wide = target is not EXIF_DESCRIPTION
    block = container.block
    if block and is_wide:
        block = tiff.parse(block.data, target.at)
    encode, decode = (policy.encode_wide, policy.decode_wide) if is_wide else (policy.encode, policy.decode)
    existing = block.description() if block else None
    previous = decode(existing) if existing is not None else None
    if previous and policy.is_read_by_programs(previous):
        raise Kept(Decision.KEEP_FOR_PROGRAMS.value)
    if target.kind:
        text, previous = _among(union, target, previous or ""), None
    value = encode(text)
    if existing == value or not (existing or text):
        return Laid(data)
    new_block = tiff_patch.describe(block, value) if block else tiff_patch.fresh(value, target.at)
    tiff_patch.prove(block, new_block, value, target.at)
    if block and maker_note.leads_into(block, len(new_block)):
        raise Refused("its MakerNote points behind its EXIF")
    new = container.with_block(new_block)
    container.prove(new, new_block)
    return Laid(new, previous or None)


def _among(union: Union, target: Target, theirs: str) -> str:
    """Windows' list of keywords, split at semicolons, with ours in it; unchanged if nothing changes."""
    assert target.kind
    existing = [one for one in theirs.split(";") if one.strip()]
    plan = union.plan(existing, target.kind)
    if plan.removed:
        return "; ".join(map(str.strip, plan.over(existing)))
    return "; ".join([*([theirs] if existing else []), *plan.added])


@dataclass(frozen=True, slots=True)
class LaidPacket:
    """An image and its packet of XMP with some texts laid into it; the text that the last one replaced."""

    holder: PacketHolder
    packet: bytes | None
    data: bytes
    fresh: Callable[[str], bytes]
    previous: str | None = None

    @classmethod
    def of(cls, data: bytes, format: str) -> Self:
        if format not in _PACKETS:
            raise Skipped(f"XMP is not written into {format} files")
        holder = _PACKETS[format](data)
        # A PNG's packet cannot be changed in place, since its chunk has a CRC: XMP Specification, 3, 1.1.5.
        fresh = partial(xmp_frame.packet_of, is_writable=format != "PNG")
        return cls(holder, holder.packet, data, fresh)

    def prove(self) -> None:
        assert self.packet is not None
        self.holder.prove(self.data, self.packet)


def lay_into_packet(target: Target, text: str, union: Union, so_far: LaidPacket) -> LaidPacket:
    """Lay one more text into the packet; after the last one the caller proves the image.

    Raises: Refused, if it cannot be written there.
    """
    packet, previous = into_packet(so_far.packet, target, text, union, fresh=so_far.fresh)
    if packet is None or packet == so_far.packet:
        return replace(so_far, previous=previous)
    return replace(so_far, packet=packet, data=so_far.holder.with_packet(packet), previous=previous)


def into_packet(
    packet: bytes | None, target: Target, text: str, union: Union, *, fresh: Callable[[str], bytes]
) -> tuple[bytes | None, str | None]:
    """The packet with the text, or the keywords, and the text it replaced; the same bytes if it was there.

    `fresh` makes a new packet of a description in XML.  Each change is proved to be the only one.
    """
    property = target.at
    assert isinstance(property, Property)
    if target.kind:
        return _listed(packet, property, union, target, fresh), None
    if packet is None:
        return _first(property, text, fresh) if text else None, None
    if property.shape is Shape.PLAIN:
        return _plain(packet, property, text)
    if not text:
        return _emptied(packet, property), None
    second = (xmp.TIFF_DESCRIPTION,) if property == xmp.DC_DESCRIPTION else ()
    return _in_languages(packet, text, (property, *second), put_in=(property,))


def describe_both(packet: bytes, text: str) -> tuple[bytes, str | None]:
    """The packet that says `text` as dc:description and tiff:ImageDescription, and the text it replaced."""
    both = (xmp.DC_DESCRIPTION, xmp.TIFF_DESCRIPTION)
    return _in_languages(packet, text, both, put_in=both)


def _in_languages(
    packet: bytes, text: str, properties: Sequence[Property], *, put_in: Sequence[Property]
) -> tuple[bytes, str | None]:
    """Set all `properties`: a packet that repeats its description as EXIF's must say the same there."""
    olds = [xmp.Packet.read(packet, one) for one in properties]
    previous = []
    for old in olds:
        said = old.description()
        if said != text and (old.property in put_in or (said or "").strip()):
            before = xmp.Packet.read(packet, old.property)
            packet = before.describe(text)
            xmp.prove(before, packet, text, old.property)
            previous.append((said or "").strip())
    return packet, policy.together(*previous)


def _emptied(packet: bytes, property: Property) -> bytes:
    old = xmp.Packet.read(packet, property)
    new, changes = old.without()
    old.frame.prove(new, changes)
    return new


def _plain(packet: bytes, property: Property, text: str) -> tuple[bytes, str | None]:
    old = Plain.read(packet, property)
    if (old.text() or "") == text:
        return packet, None
    return old.changed(text), (old.text() or "").strip() or None


def _listed(
    packet: bytes | None, property: Property, union: Union, target: Target, fresh: Callable[[str], bytes]
) -> bytes | None:
    assert target.kind
    old = Listed.read(packet, property) if packet is not None else None
    plan = union.plan(old.texts() if old else (), target.kind)
    if old:
        return old.changed(plan.removed, plan.added) if plan != Plan((), ()) else packet
    if not plan.added:
        return None
    new = fresh(xmp_frame.about([(property, Listed.holding(property, plan.added))]))
    if Listed.read(new, property).texts() != list(plan.added):
        raise Refused("the keywords do not read back from its XMP")
    return new


def _first(property: Property, text: str, fresh: Callable[[str], bytes]) -> bytes:
    if property.shape is Shape.PLAIN:
        new = fresh(xmp_frame.about([(property, escape(text))]))
        if Plain.read(new, property).text() != text:
            raise Refused(f"the {property.what} does not read back from its XMP")
        return new
    new = fresh(xmp.about_in_languages(text, (property,)))
    xmp.prove(None, new, text, property)
    return new


def _into_iptc(target: Target, text: str, union: Union, data: bytes, container: Container) -> Laid:
    assert isinstance(target.at, int)
    holder = JpegIptc.read(container) if isinstance(container, Jpeg) else None
    if holder is None:
        raise Skipped("it has no IPTC")
    old = iptc.Datasets.read(holder.resources.iptc or b"")
    values = old.values(target.at)
    if target.kind:
        plan = union.plan([policy.decode(value) for value in values], target.kind)
        removed, added = plan.removed, [old.encode(one) for one in plan.added]
        previous = None
    else:
        existing = old.only(target.at)
        new_text = iptc.shortened(text)
        added = [old.encode(new_text)] if text else []
        if added == values:
            return Laid(data)
        removed = tuple(range(len(values)))
        previous = policy.decode(existing) if existing is not None else None
    if not (removed or added):
        return Laid(data)
    block = old.changed(target.at, removed, added)
    old.prove(block, target.at, [*(v for at, v in enumerate(values) if at not in removed), *added])
    new = holder.with_iptc(block)
    holder.prove(new, block)
    return Laid(new, previous or None)
