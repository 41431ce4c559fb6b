"""What a JPEG's headers promise behind its picture, and whether it is there.

Multi-picture files (MPF, CIPA DC-007) tell where each picture lies; Google's container (motion photos, Ultra
HDR gain maps) and its older MicroVideoOffset tell in XMP how much follows.  A promise is a hint and no proof:
programs that drop the film and keep the XMP are many.  So a broken promise makes no picture fail.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple
from xml.parsers import expat

from captiond.inbox.whole.reading import File, Lack

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MPF = b"MPF\0"
_APP1, _APP2 = 0xE1, 0xE2
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"

# Google's own, and those of Dynamic Depth 1.0.
_CONTAINED = frozenset(
    f"http://ns.google.com/photos/{version}/container/ Item" for version in ("1.0", "dd/1.0")
)
_ITEM = re.compile(r"http://ns\.google\.com/photos/(?:1\.0/container|dd/1\.0)/item/ (\w+)")
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_NUMBER = re.compile(r"\s*([0-9]{1,18})\s*\Z")

_MP_ENTRIES = 0xB002
_LONGEST_INDEX = 1000  # entries of 16 bytes; burst panoramas have some dozens
_PADDING = 256 * 1024  # bytes that a camera may leave between a picture and the next


class _Part(NamedTuple):
    start: int
    stop: int


class Headers:
    """What lies before the scan, as far as it tells of what lies behind it."""

    def __init__(self) -> None:
        self.scan_at = 0
        self._behind = 0  # bytes from the picture's end on, by XMP
        self._pictures: list[_Part] = []  # each further one, by MPF
        self._noted: set[int] = set()  # the first segment of each kind counts, as for readers

    @property
    def promises(self) -> bool:
        return bool(self._behind or self._pictures)

    def note(self, file: File, code: int, at: int, length: int) -> None:
        """Takes note of the segment whose data begins at `at`."""
        begins = {_APP1: _XMP, _APP2: _MPF}.get(code)
        if begins is None or code in self._noted or length < len(begins):
            return
        if file.read(at, len(begins)) != begins:
            return
        self._noted.add(code)
        data = file.read(at + len(begins), length - len(begins))
        if code == _APP1:
            self._behind = _promised_by_xmp(data)
        else:
            base = at + len(begins)
            self._pictures = [_Part(base + start, base + stop) for start, stop in _indexed(data)]

    def look_kept(self, file: File, end: int) -> bool:
        """Whether all is there, by what begins at the promised places; `end`: where the file's data ends."""
        if _missing(file, self._pictures, end):
            return False
        if not self._behind:
            return True
        start = file.read(max(file.size - self._behind, 0), 8)
        begins = self._behind < file.size and (start[4:] == b"ftyp" or start[:2] == _SOI)
        return begins and not file.is_zero_before(file.size)

    def broken(self, file: File, eoi: int, end: int) -> Lack | None:
        """What is missing of what was promised, if the picture itself ends at `eoi`."""
        pictures = self._pictures
        if pictures and abs(min(pictures).start - eoi) > _PADDING:
            pictures = []  # the index of an earlier version of this picture
        stops = _missing(file, pictures, end)
        stop = eoi + self._behind
        if stop > file.size or (self._behind and file.is_zero_before(stop)):
            stops.append(stop)
        if not stops:
            return None
        there = max(min(file.size, end) - eoi, 0)
        told = f"its headers promise {max(stops) - eoi} bytes behind the picture, and {there} are there"
        return Lack(told, certain=False, briefly=file.size == eoi)


def _missing(file: File, pictures: list[_Part], end: int) -> list[int]:
    """Where those pictures should end that are not there; `end`: where the last data of the file ends."""
    stops = [stop for _, stop in pictures if stop > file.size or (end < stop and file.is_zero_before(stop))]
    if stops and (first := min(pictures).start) < end and all(stop != end for _, stop in pictures):
        # Pillow tells wrong lengths from the third picture on; what ends like a JPEG was written to its end.
        is_written = file.read(first, 2) == _SOI and file.read(end - 2, 2) == _EOI
        return [] if is_written else stops
    return stops


def _indexed(data: bytes) -> list[tuple[int, int]]:
    """The pictures of an MPF index but the first, relative to the index; none where it is not understood."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return []
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, directory)
        for at in range(directory + 2, directory + 2 + count * 12, 12):
            tag, _, size, value_at = struct.unpack_from(order + "HHII", data, at)
            if tag == _MP_ENTRIES:
                entries = min(size // 16, _LONGEST_INDEX)
                told = [struct.unpack_from(order + "4xII4x", data, value_at + 16 * i) for i in range(entries)]
                return [(start, start + length) for length, start in told[1:] if start and length]
    except struct.error:
        pass
    return []


def _promised_by_xmp(packet: bytes) -> int:
    """How many bytes follow the picture, as its XMP says; 0 if it says nothing."""
    told = _Told()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = told.start
    parser.EndElementHandler = told.end
    parser.CharacterDataHandler = told.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, _Refused):
        pass  # what was told until there counts
    return max(told.film, sum(told.items))


class _Refused(Exception):
    pass


def _refuse_doctype(*_: object) -> None:
    raise _Refused


class _Told:
    """Properties are attributes or elements, as XMP has it."""

    def __init__(self) -> None:
        self.film = 0
        self.items: list[int] = []
        self._item: dict[str, str] | None = None
        self._open = ""
        self._words = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open, self._words = name, ""
        if name in _CONTAINED:
            self._item = {}
        for key, value in attributes.items():
            self._property(key, value)

    def text(self, words: str) -> None:
        self._words += words

    def end(self, name: str) -> None:
        if name == self._open:
            self._property(name, self._words)
        if name in _CONTAINED and self._item is not None:
            self.items.append(_length(self._item))
            self._item = None

    def _property(self, key: str, value: str) -> None:
        if key == f"{_CAMERA} MicroVideoOffset":
            self.film = _number(value)
        elif self._item is not None and (told := _ITEM.fullmatch(key)):
            self._item[told[1]] = value


def _length(item: dict[str, str]) -> int:
    """What one item of the container takes behind the picture; the first is the picture itself."""
    own = 0 if item.get("Semantic") == "Primary" else _number(item.get("Length", ""))
    return own + _number(item.get("Padding", ""))


def _number(text: str) -> int:
    found = _NUMBER.match(text)
    return int(found[1]) if found else 0
