"""One text or a list of them in a block of IPTC datasets: put in, and proved to be the only change.

IPTC-IIM 4.2, 1.5, lays out the datasets, which stand one behind the other; no offset points to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from .refusal import Refused

_MARKER = 0x1C
_CHARACTER_SET = (1, 90)  # 1.5.1; an escape sequence of ISO 2022
_UTF_8 = b"\x1b%G"
_RECORD = 2
TITLE, KEYWORDS, CAPTION = 5, 25, 120  # datasets of that record: Object Name, Keywords, Caption/Abstract
_LONGEST = 2000  # bytes of a Caption/Abstract
_LONGEST_TITLE = 64


def shortened(text: str) -> str:
    """As much of a caption as fits, cut at a whole character."""
    return _cut(text, _LONGEST)


def shortened_title(text: str) -> str:
    """As many whole words of a title as fit; if not even one fits, as much of it as does."""
    cut = _cut(text, _LONGEST_TITLE)
    if cut == text or text[len(cut)].isspace():
        return cut
    words = cut.rpartition(" ")[0].rstrip(" ,;:-\u2013")
    return words or cut


def _cut(text: str, longest: int) -> str:
    return text.encode()[:longest].decode(errors="ignore").rstrip()


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
        """The text in the block's character set; most readers assume Latin-1 if the block names none."""
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

    def values(self, number: int) -> list[bytes]:
        """What the datasets of this number say."""
        return [self.data[one.payload : one.end] for one in self._of(number)]

    def only(self, number: int) -> bytes | None:
        """What the one dataset of this number says, if there is one."""
        found = self.values(number)
        if len(found) > 1:
            raise Refused("its IPTC has two captions" if number == CAPTION else "its IPTC has two titles")
        return found[0] if found else None

    def changed(self, number: int, removed: Collection[int], added: Sequence[bytes]) -> bytes:
        """The block without the `removed` of this number; `added` go behind the last, or in order (1.5)."""
        found = self._of(number)
        place = found[-1].end if found else self._place(number)
        gone = [one for at, one in enumerate(found) if at in removed]
        head = bytes((_MARKER, _RECORD, number))
        new = b"".join(head + len(value).to_bytes(2, "big") + value for value in added)
        return self._without(gone, 0, place) + new + self._without(gone, place, len(self.data))

    def prove(self, data: bytes, number: int, values: Sequence[bytes]) -> None:
        """Refuse `data` unless it holds all other datasets, byte for byte, and these of this number."""
        new = Datasets.read(data)
        if new.values(number) != list(values):
            raise Refused("the text does not read back from its IPTC")
        others, new_others = (
            [one.data[it.start : it.end] for it in one.all if it not in one._of(number)]
            for one in (self, new)
        )
        if others != new_others or self._tail() != new._tail():
            raise Refused("the IPTC that was there would change")

    def _of(self, number: int) -> list[DataSet]:
        return [one for one in self.all if one.tag == (_RECORD, number)]

    def _place(self, number: int) -> int:
        end = self.all[-1].end if self.all else 0
        return next((one.start for one in self.all if one.tag > (_RECORD, number)), end)

    def _without(self, gone: Collection[DataSet], start: int, end: int) -> bytes:
        pieces = []
        for one in gone:
            if start <= one.start < end:
                pieces.append(self.data[start : one.start])
                start = one.end
        return b"".join([*pieces, self.data[start:end]])

    def _tail(self) -> bytes:
        return self.data[self.all[-1].end :] if self.all else self.data


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
