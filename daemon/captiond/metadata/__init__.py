"""Lays a caption into a copy of an image's bytes, and proves that nothing else changed.

Pure: bytes in, bytes out, no files, no clock.  One module per container, `tiff` and `tiff_patch` for the
block that EXIF lives in, `xmp` for the packets that a second module per container finds, `iptc` and
`photoshop` for what JPEG has besides, `policy` for what may be replaced, `elsewhere` for what XMP and IPTC
say.  What cannot be proved safe is refused, with the very same bytes and the reason.  The function
`place` is somebody else's, who puts the block into HEIC and AVIF; `heif` proves what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol

from captiond.records import Described, Written

from . import iptc, maker_note, policy, tiff, tiff_patch, xmp
from .heif import Heif, Place
from .jpeg import Jpeg
from .jpeg_iptc import JpegIptc
from .jpeg_xmp import JpegXmp
from .png import Png
from .png_xmp import PngXmp
from .policy import SWITCHED_OFF, Decision
from .refusal import MISTAKES, Refused
from .tiff_file import TiffFile
from .tiff_xmp import TiffXmp
from .webp import WebP
from .webp_xmp import WebPXmp

TARGET = "exif:ImageDescription"
XMP_TARGET = "xmp:dc:description"
IPTC_TARGET = "iptc:Caption-Abstract"


class Container(Protocol):
    """A file that can hold one TIFF block, and knows whether a new one left the rest alone."""

    @property
    def block(self) -> tiff.Block | None: ...

    def descriptions(self) -> Iterator[str]: ...

    def with_block(self, block: bytes) -> bytes: ...

    def prove(self, data: bytes, block: bytes) -> None: ...


class PacketHolder(Protocol):
    """A file that can hold one XMP packet, and knows whether a new one left the rest alone."""

    @property
    def packet(self) -> bytes | None: ...

    def with_packet(self, packet: bytes) -> bytes: ...

    def prove(self, data: bytes, packet: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be written into an image of which format, and over what."""

    format: str
    text: str
    replace: bool
    own: Collection[str]  # what is nobody else's word, wherever it stands
    beside: Collection[str]  # what is said about the image outside of it
    place: Place | None

    def decide(self, existing: str | None, elsewhere: Iterator[str]) -> Decision:
        return policy.decide(existing, chain(self.beside, elsewhere), replace=self.replace, own=self.own)


_READERS: Mapping[str, Callable[[bytes], Container]] = {
    "JPEG": Jpeg.read,
    "MPO": Jpeg.read,
    "PNG": Png.read,
    "TIFF": TiffFile.read,
    "WEBP": WebP.read,
}
_PLACED = ("HEIF", "AVIF")
_PACKETS: Mapping[str, Callable[[bytes], PacketHolder]] = {
    "JPEG": JpegXmp.read,
    "MPO": JpegXmp.read,
    "PNG": PngXmp.read,
    "TIFF": TiffXmp.read,
    "WEBP": WebPXmp.read,
}


def describe(
    data: bytes,
    format: str,
    caption: str,
    *,
    replace: bool = False,
    blocks: Collection[str] = ("exif",),
    place: Place | None = None,
    beside: Collection[str] = (),
    own: Collection[str] = (),
) -> Described:
    """Lay `caption` into the image as its description, unless a person or a program needs the one there.

    `format` is Pillow's name, `replace` overrides a person's description, `blocks` are the kinds of
    metadata that are wanted, each of which is written or refused on its own.  `place` puts a block into HEIC
    and AVIF files; without it they are left alone.  `beside` are descriptions found outside of the image,
    which count as those inside; `own` are captions of ours that may make way.  Never raises, whatever the
    bytes: see `Written.action` and its reason.
    """
    text = policy.clean(caption)
    # A text that is written to several places is in none of them somebody else's.
    ours = [*map(policy.clean, own), *([text] if beside or {*blocks} - {"exif"} else [])]
    wish = _Wish(format, text, replace, {*ours, *map(iptc.shortened, ours)}, beside, place)
    done = [] if "exif" in blocks else [_untouched(data, TARGET, "skipped", SWITCHED_OFF)]
    for block, (write, target) in _WRITERS.items():
        if block in blocks:
            done.append(_attempted(write, target, done[-1].data if done else data, wish))
    written = tuple(one for described in done for one in described.written)
    previous = policy.together(*(described.previous_description for described in done))
    return Described(done[-1].data, written, previous)


def _attempted(
    write: Callable[[bytes, Container, _Wish], Described], target: str, data: bytes, wish: _Wish
) -> Described:
    """What `write` makes of the image; the very same bytes where it cannot."""
    read = _READERS.get(wish.format)
    if wish.place and wish.format in _PLACED:
        read = partial(Heif.read, place=wish.place)
    if read is None:
        reason = f"captions are not written into {wish.format or 'unknown'} files"
        return _untouched(data, target, "skipped", reason)
    if not wish.text:
        return _untouched(data, target, "skipped", "the caption is empty")
    try:
        return write(data, read(data), wish)
    except Refused as refused:
        return _untouched(data, target, "refused", str(refused))
    except MISTAKES as error:  # ours, and no reason to keep the image from being delivered as it was
        return _untouched(data, target, "refused", f"unexpectedly: {type(error).__name__}: {error}")


def _into_exif(data: bytes, container: Container, wish: _Wish) -> Described:
    block, value = container.block, policy.encode(wish.text)
    existing = block.description() if block else None
    if existing == value:
        return Described(data, (Written(TARGET, "wrote"),))
    previous = policy.decode(existing) if existing is not None else None
    decision = wish.decide(previous, container.descriptions())
    if decision is not Decision.WRITE:
        return _untouched(data, TARGET, "kept", decision.value)
    new_block = tiff_patch.describe(block, value) if block else tiff_patch.fresh(value)
    tiff_patch.prove(block, new_block, value)
    if block and maker_note.leads_into(block, len(new_block)):
        raise Refused("its MakerNote points behind its EXIF")
    new = container.with_block(new_block)
    container.prove(new, new_block)
    return Described(new, (Written(TARGET, "wrote"),), previous or None)


def _into_xmp(data: bytes, container: Container, wish: _Wish) -> Described:
    if wish.format not in _PACKETS:
        return _untouched(data, XMP_TARGET, "skipped", f"XMP is not written into {wish.format} files")
    decision = wish.decide(None, _all_descriptions(container))
    if decision is not Decision.WRITE:
        return _untouched(data, XMP_TARGET, "kept", decision.value)
    holder = _PACKETS[wish.format](data)
    old = xmp.Packet.read(holder.packet) if holder.packet is not None else None
    previous = old.description() if old else None
    if previous == wish.text:
        return Described(data, (Written(XMP_TARGET, "wrote"),))
    # A PNG's packet cannot be changed in place, since its chunk has a CRC: XMP Specification, part 3, 1.1.5.
    packet = old.describe(wish.text) if old else xmp.fresh(wish.text, is_writable=wish.format != "PNG")
    xmp.prove(old, packet, wish.text)
    new = holder.with_packet(packet)
    holder.prove(new, packet)
    return Described(new, (Written(XMP_TARGET, "wrote"),), (previous or "").strip() or None)


def _into_iptc(data: bytes, container: Container, wish: _Wish) -> Described:
    holder = JpegIptc.read(container) if isinstance(container, Jpeg) else None
    if holder is None:
        return _untouched(data, IPTC_TARGET, "skipped", "it has no IPTC")
    decision = wish.decide(None, _all_descriptions(container))
    if decision is not Decision.WRITE:
        return _untouched(data, IPTC_TARGET, "kept", decision.value)
    old = iptc.Datasets.read(holder.resources.iptc or b"")
    value, existing = old.encode(iptc.shortened(wish.text)), old.caption()
    if existing == value:
        return Described(data, (Written(IPTC_TARGET, "wrote"),))
    block = old.describe(value)
    old.prove(block, value)
    new = holder.with_iptc(block)
    holder.prove(new, block)
    previous = policy.decode(existing) if existing is not None else None
    return Described(new, (Written(IPTC_TARGET, "wrote"),), previous or None)


_WRITERS = {
    "exif": (_into_exif, TARGET),
    "xmp": (_into_xmp, XMP_TARGET),
    "iptc": (_into_iptc, IPTC_TARGET),
}


def _all_descriptions(container: Container) -> Iterator[str]:
    """What EXIF, XMP and IPTC say about the image."""
    existing = container.block.description() if container.block else None
    if existing is not None:
        yield policy.decode(existing)
    yield from container.descriptions()


def _untouched(data: bytes, target: str, action: str, reason: str) -> Described:
    return Described(data, (Written(target, action, reason),))
