"""What the words mean that a decoder answers with.  A picture may have taken it over, so each is checked.

Raises, all of them: Rejected, if it says what no decoder says; ValueError or OSError, if it hands over
something else than it says.
"""

from __future__ import annotations

from captiond.encoded import Encoded
from captiond.errors import Rejected
from captiond.pictures import shared
from captiond.pictures.header import Header
from captiond.records import Notice, Picture, PictureFacts
from captiond.scaling import Scaling

_MOST_DIGITS = 10  # of a picture's width


def nonsense() -> Rejected:
    """The verdict if the answer makes no sense: a picture may have taken the decoder over."""
    return Rejected("decoder_died", "its decoder says what no decoder says", stage="decode")


def header(answer: list[str], size: int) -> Header:
    match answer:
        case ["header", name, mode, width, height, progressive]:
            return Header(name, mode, *_size(width, height), progressive == "1", size)
    raise nonsense()


def decoded_size(answer: list[str]) -> tuple[int, int]:
    match answer:
        case ["decoded", width, height] if min(_size(width, height)) > 0:
            return _size(width, height)
    raise nonsense()


def check_scaled(answer: list[str], wanted: Scaling | None) -> None:
    if wanted is not None and answer[1:3] != [str(wanted.width), str(wanted.height)]:
        raise nonsense()


def _size(width: str, height: str) -> tuple[int, int]:
    """In pixels.  A decoder that was taken over may say what is no number, or one of a thousand digits."""
    if not all(word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS for word in (width, height)):
        raise nonsense()
    return int(width), int(height)


def picture(header: Header, answer: list[str], memory: list[int]) -> Picture:
    (descriptor,) = memory
    (width, height, profile_bytes), told = map(int, answer[1:4]), answer[4:]
    return Picture(shared.image_of(descriptor, width, height, profile_bytes), _facts(header, told))


def encoded(header: Header, answer: list[str], memory: list[int]) -> Encoded:
    (descriptor,) = memory
    return Encoded(shared.contents(descriptor), _facts(header, answer[1:]))


def _facts(header: Header, told: list[str]) -> PictureFacts:
    mean, spread = map(float, told[:2])
    words = told[2:]
    notices = tuple(Notice(code, message) for code, message in zip(words[::2], words[1::2], strict=True))
    return PictureFacts(header.format, header.width, header.height, notices, mean, spread)
