"""One Caption/Abstract in a block of IPTC datasets: put in, and proved to be the only change.

IPTC-IIM 4.2, 1.5, lays out the datasets, which stand one behind the other; no offset leads to any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from .refusal import Refused

_MARKER = 0x1C
_CHARACTER_SET = (1, 90)  # 1.5.1; an escape sequence of ISO 2022
_CAPTION = (2, 120)
_UTF_8 = b"\x1b%G"
_LONGEST = 2000  # bytes of a Caption/Abstract


def shortened(text: str) -> str:
    """As much of the text as has room, up to a whole character."""
    return text.encode()[:_LONGEST].decode(errors="ignore").rstrip()


class DataSet(NamedTuple):
    """A dataset, from its marker to its last byte."""

    start: int
    tag: tuple[int, int]  # record and number
    payload: int
    end: int


@dataclass(frozen=True, slots=True)
class Datasets:
    """The datasets of one block, with whatever pads it."""

    data: bytes
    all: tuple[DataSet, ...]

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls(data, tuple(_datasets(data)))

    def encode(self, text: str) -> bytes:
        """The text in the character set of the block; without one named it is Latin-1, to most readers."""
        sets = [self.data[one.payload : one.end] for one in self.all if one.tag == _CHARACTER_SET]
        if sets == [_UTF_8]:
            return text.encode()
        if sets:
            raise Refused("its IPTC is in an unknown character set")
        try:
            value = text.encode("latin-1")
        except UnicodeEncodeError:
            raise Refused("its IPTC has no character set that can say this") from None
        if not text.isascii() and _is_utf_8(value):
            raise Refused("its IPTC has no character set, and readers would guess wrongly")
        return value

    def caption(self) -> bytes | None:
        found = self._caption()
        return None if found is None else self.data[found.payload : found.end]

    def describe(self, text: bytes) -> bytes:
        """The datasets with `text` as the caption, where it is or in the order of the numbers (1.5)."""
        start, end = self._place()
        head = bytes((_MARKER, *_CAPTION)) + len(text).to_bytes(2, "big")
        return self.data[:start] + head + text + self.data[end:]

    def prove(self, data: bytes, text: bytes) -> None:
        """Refuse `data` unless it holds these datasets, byte for byte, and the caption."""
        new = Datasets.read(data)
        found = new._caption()
        if found is None or data[found.payload : found.end] != text:
            raise Refused("the caption does not read back from its IPTC")
        start, end = self._place()
        if (
            found.start != start
            or data[:start] != self.data[:start]
            or data[found.end :] != self.data[end:]
            or [one.tag for one in new.all if one is not found]
            != [one.tag for one in self.all if one.tag != _CAPTION]
        ):
            raise Refused("the IPTC that was there would change")

    def _caption(self) -> DataSet | None:
        found = [one for one in self.all if one.tag == _CAPTION]
        if len(found) > 1:
            raise Refused("its IPTC has two captions")
        return found[0] if found else None

    def _place(self) -> tuple[int, int]:
        found = self._caption()
        if found:
            return found.start, found.end
        after = next((one.start for one in self.all if one.tag > _CAPTION), None)
        end = self.all[-1].end if self.all else 0
        return (end, end) if after is None else (after, after)


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _datasets(data: bytes) -> Iterator[DataSet]:
    at = 0
    while at < len(data) and data[at] == _MARKER:
        if at + 5 > len(data):
            raise Refused("its IPTC is truncated")
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size & 0x8000:  # 1.5: an extended dataset, which none of the texts needs
            raise Refused("its IPTC has an extended dataset")
        end = at + 5 + size
        if end > len(data):
            raise Refused("its IPTC is truncated")
        yield DataSet(at, (data[at + 1], data[at + 2]), at + 5, end)
        at = end
    if data[at:].strip(b"\0"):
        raise Refused("its IPTC has garbage between its datasets")
