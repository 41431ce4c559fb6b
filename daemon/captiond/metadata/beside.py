"""What is to lie beside a picture, besides its JSON: the whole content of its .xmp and of its .txt file.

Pure: which files these are, and how they get there, is somebody else's.  A file that came along is never
made anew: an .xmp is merged, with the proof that nothing else in it changed, and what a person wrote stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from captiond.records import Described, Notes, Written

from . import policy
from .blocks import into_packet
from .policy import SWITCHED_OFF, Decision, Said
from .refusal import MISTAKES, Refused
from .takeout import in_takeout
from .xmp import DC_DESCRIPTION, TIFF_DESCRIPTION, fresh_file, prove
from .xmp_words import in_xmp

XMP_TARGET = "xmp-sidecar:dc:description"
TEXT_TARGET = "text-sidecar"

# Immich takes the second one first; without it, what EXIF says would hide the first.
_BOTH = (DC_DESCRIPTION, TIFF_DESCRIPTION)
_LONGEST_TEXT = 1 << 16  # bytes; more than that describes no picture


@dataclass(frozen=True, slots=True)
class Beside:
    """What is to lie beside a picture, besides its JSON."""

    xmp: bytes | None = field(repr=False)  # the whole file; None: none of ours, one that came along stays
    text: bytes | None = field(repr=False)  # likewise
    written: tuple[Written, ...]  # one for each target that was considered
    previous_description: str | None = None  # what a person's words said that made way, for the JSON


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be said, and over whose words."""

    text: str
    replace: bool
    own: Collection[str]
    keeps: bool  # somebody's words stand in another place: no .xmp receives ours


@dataclass(frozen=True, slots=True)
class _Made:
    """What becomes of one file: its content, or the action and the reason why there is none."""

    content: bytes | None
    action: str
    reason: str | None = None
    previous: str | None = None


def compose(
    caption: str,
    described: Described,
    *,
    xmp: str,
    text: bool,
    replace: bool,
    existing_xmp: bytes | None,
    existing_text: bytes | None,
    own: Collection[str] = (),
    keeps: bool = False,
) -> Beside:
    """The files for a picture that was `described`, given those that came along with it.

    `xmp`: always, never, or auto: where the format could not hold the caption.  `own` are captions of ours,
    which make way; `keeps`: a person's words were found, so that no .xmp says ours.  Never raises, whatever
    the bytes: see `Written.action` and its reason.
    """
    line = policy.clean(caption)
    wish = _Wish(line, replace, {line, *map(policy.clean, own)}, keeps)
    made: dict[str, _Made] = {}
    if xmp == "always" or (xmp == "auto" and found_no_place(described)):
        made[XMP_TARGET] = _attempted(_xmp_file, wish, existing_xmp)
    if text:
        made[TEXT_TARGET] = _attempted(_text_file, wish, existing_text)
    return Beside(
        made[XMP_TARGET].content if XMP_TARGET in made else None,
        made[TEXT_TARGET].content if TEXT_TARGET in made else None,
        tuple(Written(target, file.action, file.reason) for target, file in made.items()),
        policy.together(*(file.previous for file in made.values())),
    )


def said(notes: Notes) -> tuple[Said, ...]:
    """What lies beside a picture and says something about it.  Never raises.

    An .xmp that is too large to be read may say anything, so that it counts as somebody's.
    """
    unread = (Said("xmp-sidecar", None),) if "xmp" in notes.unread else ()
    jsons = (one for content in notes.takeout for one in in_takeout(content))
    return (*unread, *descriptions(notes.xmp), *jsons)


def descriptions(existing_xmp: bytes | None) -> tuple[Said, ...]:
    """What an .xmp that came along says about its picture.  Never raises."""
    return tuple(Said("xmp-sidecar", text) for text in in_xmp(existing_xmp or b""))


def found_no_place(described: Described) -> bool:
    """Were captions wanted inside the picture, and does none stand there, nor a person's description?"""
    wanted = [one.action for one in described.written if one.reason != SWITCHED_OFF]
    return bool(wanted) and not {"wrote", "kept"}.intersection(wanted)


def _attempted(make: Callable[[_Wish, bytes | None], _Made], wish: _Wish, existing: bytes | None) -> _Made:
    if not wish.text:
        return _Made(None, "skipped", "the caption is empty")
    try:
        return make(wish, existing)
    except Refused as refused:
        return _Made(None, "refused", str(refused))
    except MISTAKES as error:  # ours, and no reason to touch what came along
        return _Made(None, "refused", f"unexpectedly: {type(error).__name__}: {error}")


def _xmp_file(wish: _Wish, existing: bytes | None) -> _Made:
    decision = policy.decide(descriptions(existing), replace=wish.replace, own=wish.own)
    if wish.keeps or decision is not Decision.WRITE:
        return _Made(None, "kept", Decision.KEEP.value)
    if existing is None:
        new = fresh_file(wish.text, _BOTH)
        for property in _BOTH:
            prove(None, new, wish.text, property)
        return _Made(new, "wrote")
    new, previous = into_packet(existing, wish.text, DC_DESCRIPTION, also=TIFF_DESCRIPTION)
    return _Made(new, "wrote", previous=_by_others(previous or "", wish))


def _text_file(wish: _Wish, existing: bytes | None) -> _Made:
    new, existing = f"{wish.text}\n".encode(), existing or b""
    if len(existing) > _LONGEST_TEXT:
        raise Refused("the text that is there is too long to be a description")
    try:
        previous = existing.decode("utf-8-sig").strip("\0").strip()
    except UnicodeDecodeError:
        raise Refused("the text that is there is not in UTF-8") from None
    if previous and not wish.replace and policy.clean(previous) not in wish.own:
        return _Made(None, "kept", Decision.KEEP.value)
    return _Made(new, "wrote", previous=_by_others(previous, wish))


def _by_others(previous: str, wish: _Wish) -> str | None:
    line = previous.strip()
    return line if line and policy.clean(line) not in wish.own else None
