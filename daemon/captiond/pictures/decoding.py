"""File bytes to an upright 8-bit RGB picture.  The only decoding; no files, no clock, no limits of its own.

It runs in the decoders' processes (`worker`), where time and memory are bounded.  Only the formats of
`formats` are tried, so no file reaches one of Pillow's rarer or external decoders.  A file that cannot be
read is `Rejected` with the reason; a bug of ours is raised unchanged.
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, cast

import pillow_heif
from PIL import AvifImagePlugin, ExifTags, Image, ImageStat, UnidentifiedImageError

from captiond import formats
from captiond.errors import Rejected
from captiond.formats import extras, raw
from captiond.pictures import by_extra, converting, png, tiff_kind
from captiond.pictures.header import Header, NeededSide, at_full_size, refuse_too_many_pixels, scale_of
from captiond.records import Notice, Picture, PictureFacts

# Our own limit is checked against the declared size, before a byte is decoded; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
# Pictures are decoded in parallel, each on one core: otherwise each would start a thread for every core.
pillow_heif.options.DECODE_THREADS = 1
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.register_heif_opener()
Image.init()  # otherwise `formats` may name a plugin that is not registered yet

# Everything Pillow's readers were seen to raise for damaged files.
_UNREADABLE = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError,
    OverflowError, ZeroDivisionError, RuntimeError, AssertionError, AttributeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip


_FOR_TIFF = "It need not be damaged.  Export it with 8 bits a channel, as TIFF, PNG or JPEG."
if extras.why_not("tiff") is not None:
    _FOR_TIFF = f"{_FOR_TIFF}  Or {extras.advice('tiff')}, which reads most kinds."

_SAMPLES = 128  # in each direction: exact enough, and the same cost for every picture
_TOO_LONG = Notice(
    "too_long", f"it is longer than {converting.LONGEST_RATIO}:1; the model is shown it with white beside it"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture as it is stored; its methods give it upright and in 8-bit RGB."""

    stored: Image.Image
    orientation: int  # EXIF's
    notices: tuple[Notice, ...]

    def luminance(self) -> tuple[float, float]:
        """The mean (of 255) and standard deviation: they tell whether there is anything to be seen."""
        samples = self.stored.resize((_SAMPLES, _SAMPLES), Image.Resampling.NEAREST)
        light = ImageStat.Stat(Decoded(samples, 1, ()).whole().convert("L"))
        return round(light.mean[0], 3), round(light.stddev[0], 3)

    @property
    def size(self) -> tuple[int, int]:
        """The size as shown: upright, and no longer than a model takes."""
        return converting.framed_size(self._upright_size())

    def _upright_size(self) -> tuple[int, int]:
        return converting.upright_size(self.stored, self.orientation)

    @property
    def profile(self) -> bytes | None:
        """The colour profile of the strips; None: sRGB."""
        return self.stored.info.get("icc_profile") if self.stored.mode != "CMYK" else None

    def strips(self) -> Iterator[Image.Image]:
        """The strips from top to bottom, each as wide as the picture."""
        parts, size = converting.strips(self.stored, self.orientation), self._upright_size()
        return parts if size == self.size else converting.framed(parts, size)

    def whole(self) -> Image.Image:
        if self.stored.mode == "RGB" and self.stored.size == self.size and self.orientation == 1:
            return self.stored
        image, top = Image.new("RGB", self.size), 0
        for strip in self.strips():
            image.paste(strip, (0, top))
            top += strip.height
        return image


class Reading:
    """A picture whose header was read, and of which no pixel is decoded yet.

    Raises, as its methods do: Rejected, `unreadable` if it is no picture or damaged, `unsupported` if it is
    sound but of a kind that captiond does not decode.
    """

    def __init__(self, data: bytes | mmap.mmap, *, called_raw: bool = False) -> None:
        """`called_raw`: the file's name says that it is a camera's RAW; in some TIFFs only the name does."""
        found = formats.kind_of(lambda at, count: data[at : at + count])
        if found is not None and not formats.is_served(found):
            raise _not_served(found, raw.kind_in(data))
        self._names = [one.name for one in formats.formats_of(data[: formats.HEAD_BYTES])]
        self._data = png.without_extras(data) if self._names == ["PNG"] else data
        self._opened: Image.Image | None = None
        self._other = self._read_by_extra(found, called_raw=called_raw)
        self.header = self._pillows_header() if self._other is None else self._header_of(self._other)

    def _read_by_extra(self, found: formats.Format | None, *, called_raw: bool) -> by_extra.Picture | None:
        """The reader for a picture that Pillow does not read; None if Pillow is to read it."""
        if called_raw and self._names == ["TIFF"] and formats.is_served(formats.RAW):
            with suppress(*_UNREADABLE):  # if LibRaw fails, it is a TIFF with a RAW's name
                raw_file = by_extra.raw_of(self._data)
                self._names = ["RAW"]
                return raw_file
        if found is None or found.extra is None:
            return None
        self._names = [found.name]
        with self._reading():
            return by_extra.raw_of(self._data) if found is formats.RAW else by_extra.jxl_of(self._data)

    def _header_of(self, other: by_extra.Picture) -> Header:
        return Header(self._names[0], other.mode, *other.size, file_bytes=len(self._data))

    def _pillows_header(self) -> Header:
        # Not by Pillow: its WebP reader allocates the whole canvas as soon as it is opened.
        if self._names == ["WEBP"] and (size := _webp_size(self._data)):
            return Header("WEBP", "RGBA", *size, file_bytes=len(self._data))
        try:
            if self._names == ["TIFF"] and (kind := tiff_kind.misread_kind_of(self._data)):
                raise _unsupported(kind)
            self._opened = self._open()
        except Rejected as rejected:
            self._other = self._instead(rejected)
            return self._header_of(self._other)
        return Header(
            "JPEG" if self._opened.format == "MPO" else (self._opened.format or ""),
            self._opened.mode,
            *self._opened.size,
            is_progressive=bool(self._opened.info.get("progressive")),
            file_bytes=len(self._data),
        )

    def _instead(self, rejected: Rejected) -> by_extra.Picture:
        """The extra's reader for a TIFF that Pillow does not read; raises `rejected` if there is none."""
        if rejected.kind != "unsupported":
            raise rejected
        try:
            other = by_extra.tiff_of(self._data)
        except _UNREADABLE:
            other = None
        if other is None:
            raise rejected
        return other

    def decode(self, scale: int) -> Decoded:
        """Decode all of it, a JPEG smaller by `scale`.  Call it once."""
        image, orientation, notices = self._loaded(scale)
        if converting.framed_size(image.size) != image.size:
            notices = (*notices, _TOO_LONG)
        return Decoded(image, orientation, notices)

    def _loaded(self, scale: int) -> by_extra.Loaded:
        if self._other is None:
            try:
                return self._loaded_by_pillow(scale)
            except Rejected as rejected:
                self._other = self._instead(rejected)
        with self._reading():
            return self._other.load()

    def _loaded_by_pillow(self, scale: int) -> by_extra.Loaded:
        image = self._opened or self._open()
        with self._reading(is_opened=True):
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            image.load()
        return (image, *_orientation(image))

    def _open(self) -> Image.Image:
        with self._reading():
            file = io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data
            file.seek(0)
            return Image.open(cast(IO[bytes], file), formats=self._names or ["JPEG"])

    @contextmanager
    def _reading(self, *, is_opened: bool = False) -> Iterator[None]:
        """Turn what a library raises into Rejected.  Put it around library calls alone, not our own code."""
        try:
            yield
        except _UNREADABLE as error:
            is_tiff = self._names == ["TIFF"]
            kind = tiff_kind.kind_of(self._data, is_opened=is_opened) if is_tiff else None
            raise (_unsupported(kind) if kind else _unreadable(error, self._shown())) from error

    def _shown(self) -> str | None:
        known = (*formats.FORMATS, *formats.BY_EXTRA)
        return next((one.shown for one in known if [one.name] == self._names[:1]), None)


def decode(
    data: bytes, *, max_pixels: int, needed_side: NeededSide = at_full_size, called_raw: bool = False
) -> Picture:
    """The picture in `data`, decoded in this very process: for pictures that we made, and for tests."""
    reading = Reading(data, called_raw=called_raw)
    header = reading.header
    refuse_too_many_pixels(header, max_pixels)
    decoded = reading.decode(scale_of(header, needed_side(header.width, header.height)))
    image = decoded.whole().copy()
    image.info = {"icc_profile": decoded.profile} if decoded.profile else {}
    facts = PictureFacts(header.format, header.width, header.height, decoded.notices, *decoded.luminance())
    return Picture(image, facts)


def _not_served(one: formats.Format, kind: str | None) -> Rejected:
    """Said before Pillow is asked: it takes most RAW files for TIFFs and would show their thumbnail."""
    assert one.extra is not None
    exactly = f" ({kind})" if kind not in (None, one.shown) else ""
    return Rejected(
        "unsupported",
        f"it is a {one.shown} file{exactly}, which is not read here: {extras.why_not(one.extra)}",
        stage="decode",
        advice=f"{extras.advice(one.extra)}, start captiond anew, and run `captiond retry`.",
    )


def _unreadable(error: BaseException, shown: str | None) -> Rejected:
    return Rejected(
        "unreadable",
        f"cannot be read as a picture: {_reason(error, shown)}",
        stage="decode",
        advice="Open it in a viewer: if it is damaged, replace it; if it is no picture, remove it.",
    )


def _unsupported(kind: str) -> Rejected:
    return Rejected(
        "unsupported",
        f"a kind of TIFF that is not supported: {kind}",
        stage="decode",
        advice=_FOR_TIFF,
    )


def _reason(error: BaseException, shown: str | None) -> str:
    # Pillow's message names the memory address of our buffer, which tells a person nothing.
    if isinstance(error, UnidentifiedImageError):
        return f"its {shown} data is damaged" if shown else f"no {formats.listed('or')} data"
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> tuple[int, tuple[Notice, ...]]:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _UNREADABLE as error:
        # A broken EXIF block says nothing about the pixels, which are whole.
        message = f"the EXIF block cannot be read ({_reason(error, None)}); orientation unknown"
        return 1, (Notice("orientation_unknown", message),)
    return (found if isinstance(found, int) and 1 <= found <= 8 else 1), ()


def _webp_size(data: bytes | mmap.mmap) -> tuple[int, int] | None:
    """The canvas size that the header declares; None if it cannot be read, so that Pillow says why."""
    try:
        (kind,) = struct.unpack_from("4s", data, 12)
        if kind == b"VP8X":
            low, high = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return (low, high) if len(data) >= 30 else None
        if kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = struct.unpack_from("<HH", data, 26)
        return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else None
    except struct.error:
        return None
