"""One writer for each block that a text can stand in: EXIF, XMP, IPTC.

Each lays one text at one target into a copy of the bytes, proves that nothing else changed, and says what
made way.  Whether a text may be written at all has been decided before, for the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from captiond import formats

from . import iptc, maker_note, policy, tiff, tiff_patch, xmp
from .heif import Heif, Place
from .jpeg import Jpeg
from .jpeg_iptc import JpegIptc
from .jpeg_xmp import JpegXmp
from .png import Png
from .png_xmp import PngXmp
from .policy import Decision
from .refusal import Refused
from .seen import XP_KEYWORDS
from .targets import EXIF, EXIF_DESCRIPTION, IPTC, WINDOWS, XMP, Target
from .tiff_file import TiffFile
from .tiff_xmp import TiffXmp
from .webp import WebP
from .webp_xmp import WebPXmp


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
    """What stands there stays; the message says why."""


class Skipped(Exception):
    """There is no such place in this picture; the message says why."""


@dataclass(frozen=True, slots=True)
class Laid:
    """The bytes with the text at its target (the same object if it stood there), and what made way for it."""

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
    """What reads a file of this format (Pillow's name) to be written into; None if nothing does."""
    if place and format in _PLACED:
        return partial(Heif.read, place=place)
    return _READERS.get(format)


def lay(target: Target, text: str, data: bytes, format: str, container: Container) -> Laid:
    """Raises Refused, Kept or Skipped if the text does not come to stand there."""
    return _WRITERS[target.block](target, text, data, format, container)


def has_iptc(data: bytes, format: str) -> bool:
    """Does it hold IPTC in the one way that is written?"""
    try:
        return format in ("JPEG", "MPO") and JpegIptc.read(Jpeg.read(data)) is not None
    except Refused:
        return False


def _into_exif(target: Target, text: str, data: bytes, format: str, container: Container) -> Laid:
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
    if target.at == XP_KEYWORDS and previous:
        text, previous = _united(previous, text), None
    value = encode(text)
    if existing == value:
        return Laid(data)
    new_block = tiff_patch.describe(block, value) if block else tiff_patch.fresh(value, target.at)
    tiff_patch.prove(block, new_block, value, target.at)
    if block and maker_note.leads_into(block, len(new_block)):
        raise Refused("its MakerNote points behind its EXIF")
    new = container.with_block(new_block)
    container.prove(new, new_block)
    return Laid(new, previous or None)


def _united(theirs: str, ours: str) -> str:
    """Their keywords first, as they are, then those of ours that they do not have."""
    had = {one.strip().casefold() for one in theirs.split(";")}
    return "; ".join([theirs, *(one for one in ours.split("; ") if one.casefold() not in had)])


def _into_xmp(target: Target, text: str, data: bytes, format: str, container: Container) -> Laid:
    assert isinstance(target.at, xmp.Property)
    if format not in _PACKETS:
        raise Skipped(f"XMP is not written into {format} files")
    holder = _PACKETS[format](data)
    if holder.packet is None:
        # A PNG's packet cannot be changed in place, since its chunk has a CRC: XMP Specification, 3, 1.1.5.
        packet = xmp.fresh(text, is_writable=format != "PNG")
        xmp.prove(None, packet, text)
        previous = None
    else:
        packet, previous = into_packet(holder.packet, text, target.at)
    if packet == holder.packet:
        return Laid(data)
    new = holder.with_packet(packet)
    holder.prove(new, packet)
    return Laid(new, previous)


def into_packet(
    packet: bytes, text: str, property: xmp.Property, *, also: xmp.Property | None = None
) -> tuple[bytes, str | None]:
    """The packet with the text, and what made way; the same bytes if it stood there.

    Where a packet says its description a second time, as EXIF's, that one says the same; `also` is put in.
    """
    olds = [xmp.Packet.read(packet, one) for one in dict.fromkeys((property, xmp.TIFF_DESCRIPTION))]
    previous = []
    for old in olds:
        said = old.description()
        if said != text and (old.property in (property, also) or (said or "").strip()):
            before = xmp.Packet.read(packet, old.property)
            packet = before.describe(text)
            xmp.prove(before, packet, text, old.property)
            previous.append((said or "").strip())
    return packet, policy.together(*previous)


def _into_iptc(target: Target, text: str, data: bytes, format: str, container: Container) -> Laid:
    holder = JpegIptc.read(container) if isinstance(container, Jpeg) else None
    if holder is None:
        raise Skipped("it has no IPTC")
    old = iptc.Datasets.read(holder.resources.iptc or b"")
    value, existing = old.encode(iptc.shortened(text)), old.caption()
    if existing == value:
        return Laid(data)
    block = old.describe(value)
    old.prove(block, value)
    new = holder.with_iptc(block)
    holder.prove(new, block)
    previous = policy.decode(existing) if existing is not None else None
    return Laid(new, previous or None)


_WRITERS: Mapping[str, Callable[[Target, str, bytes, str, Container], Laid]] = {
    EXIF: _into_exif,
    WINDOWS: _into_exif,
    XMP: _into_xmp,
    IPTC: _into_iptc,
}
