"""The files beside a picture, except its JSON: the whole content of its .xmp and of its .txt file.

Pure: `delivery` knows which files these are and how they get there.  A file that came along is never made
anew: an .xmp is merged, with the proof that nothing else in it changed, and what a person wrote stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from captiond.records import Described, Notes, Texts, Written

from . import policy, targets
from .blocks import describe_both, into_packet
from .keywords import NO_KEYWORDS, Union
from .policy import CAPTION, SWITCHED_OFF, Decision, Said
from .refusal import MISTAKES, Refused
from .takeout import in_takeout
from .targets import Target
from .xmp import DC_DESCRIPTION, TIFF_DESCRIPTION, about_in_languages, prove
from .xmp_frame import file_of
from .xmp_words import texts_in_xmp

XMP_TARGET = "xmp-sidecar:dc:description"
TEXT_TARGET = "text-sidecar"

# Immich prefers the second one; without it, EXIF's description would hide the first.
_BOTH = (DC_DESCRIPTION, TIFF_DESCRIPTION)
_LONGEST_TEXT = 1 << 16  # bytes; more than that describes no picture


@dataclass(frozen=True, slots=True)
class Beside:
    """The files to lie beside a picture, except its JSON."""

    xmp: bytes | None = field(repr=False)  # the whole file; None: none of ours, one that came along stays
    text: bytes | None = field(repr=False)  # the whole file; None: none of ours, one that came along stays
    written: tuple[Written, ...]  # one for each target that was considered
    previous_description: str | None = None  # the person's words that were replaced, for the JSON


@dataclass(frozen=True, slots=True)
class Wish:
    """What to say beside a picture, and whose words it may replace."""

    texts: Texts
    own: Texts | None = None  # former texts of ours, which are replaced
    replace: bool = False
    kept: Collection[str] = ()  # fields for which a person's words were found: no .xmp gets ours
    union: Union | None = None  # of the keywords of the picture and what lies beside it
    title_as: str = "title"

    def ours(self, field: str) -> Collection[str]:
        """What we say and said before for this field."""
        said = [self.texts] if self.own is None else [self.texts, self.own]
        return {policy.clean(getattr(one, field) or "") for one in said}


@dataclass(frozen=True, slots=True)
class _Made:
    """What becomes of one place: its content, or the action and the reason why there is none."""

    content: bytes | None
    action: str
    reason: str | None = None
    previous: str | None = None


def compose(
    wish: Wish,
    described: Described,
    *,
    xmp: str,
    text: str | None,
    existing_xmp: bytes | None,
    existing_text: bytes | None,
) -> Beside:
    """The files for a picture that was `described`, given those that came along with it.

    `xmp`: always, never, or auto: if the image could not hold the caption.  `text`: what the .txt says
    (caption, keywords or lines); None for no .txt.  Never raises, whatever the bytes: see `Written.action`
    and its reason.
    """
    written: list[Written] = []
    previous: list[str | None] = []
    new_xmp = new_text = None
    if xmp == "always" or (xmp == "auto" and found_no_place(described)):
        new_xmp, made = _xmp_file(wish, existing_xmp)
        written += [Written(f"xmp-sidecar:{name}", one.action, one.reason) for name, one in made.items()]
        previous += [one.previous for one in made.values()]
    if text is not None:
        one = _attempted(partial(_text_file, wish, text, existing_text))
        new_text = one.content
        written.append(Written(TEXT_TARGET, one.action, one.reason))
        previous.append(one.previous)
    return Beside(new_xmp, new_text, tuple(written), policy.together(*previous))


def of_raw(wish: Wish, existing: bytes | None) -> tuple[bytes | None, tuple[Written, ...]]:
    """The .xmp of a RAW that travels with the picture, given the one that came along.  Never raises."""
    content, made = _xmp_file(wish, existing)
    return content, tuple(
        Written(f"raw-sidecar:{name}", one.action, one.reason) for name, one in made.items()
    )


def said(notes: Notes) -> tuple[Said, ...]:
    """What the files beside a picture say about it.  Never raises.

    An .xmp that is too large to be read may say anything, so it counts as a person's words.
    """
    fields = (CAPTION, policy.TITLE, policy.ALT_TEXT)
    unread = [Said("xmp-sidecar", None, field) for field in fields if "xmp" in notes.unread]
    jsons = (one for content in notes.takeout for one in in_takeout(content))
    of_raw = said_in_xmp(notes.raw.xmp if notes.raw is not None else None)
    return (*unread, *said_in_xmp(notes.xmp), *of_raw, *jsons)


def said_in_xmp(existing_xmp: bytes | None) -> tuple[Said, ...]:
    """What an .xmp that came along says about its picture.  Never raises."""
    return tuple(Said("xmp-sidecar", text, field) for field, text in texts_in_xmp(existing_xmp or b""))


def descriptions(existing_xmp: bytes | None) -> tuple[Said, ...]:
    """What an .xmp that came along says as its description.  Never raises."""
    return tuple(one for one in said_in_xmp(existing_xmp) if one.field == CAPTION)


def found_no_place(described: Described) -> bool:
    """Was a caption wanted inside the picture, and is neither ours nor a person's there?"""
    others = {target.name for target in targets.TABLE if target.field != CAPTION}
    captions = [one for one in described.written if one.target not in others]
    wanted = [one.action for one in captions if one.reason != SWITCHED_OFF]
    return bool(wanted) and not {"wrote", "kept"}.intersection(wanted)


def training_text(texts: Texts, kind: str) -> str:
    """What photo.txt says: the caption, the keywords, or each text on a line of its own."""
    if kind == "keywords":
        return ", ".join(filter(None, map(policy.clean, texts.keywords)))
    said = (texts.caption,) if kind == "caption" else (texts.caption, texts.alt_text, texts.title)
    return "\n".join(filter(None, (policy.clean(one or "") for one in said)))


def _attempted(make: Callable[[], _Made]) -> _Made:
    try:
        return make()
    except Refused as refused:
        return _Made(None, "refused", str(refused))
    except MISTAKES as error:  # a bug of ours: leave the file that came along untouched
        return _Made(None, "refused", f"unexpectedly: {type(error).__name__}: {error}")


def _xmp_file(wish: Wish, existing: bytes | None) -> tuple[bytes | None, dict[str, _Made]]:
    """The file after each text was laid into it, or None if none was; what became of each."""
    made: dict[str, _Made] = {}
    content, theirs = existing, said_in_xmp(existing)
    for target in targets.titled(targets.TABLE, wish.title_as):
        text = policy.clean(target.text(wish.texts))
        is_told = target.is_always_told or targets.says(target, wish.texts, wish.own)
        if target.block == targets.XMP and is_told:
            lay = partial(_into_xmp_file, target, text, wish, content, theirs)
            made[target.name.removeprefix("xmp:")] = one = _attempted(lay)
            content = content if one.content is None else one.content
    wrote = any(one.action == "wrote" for one in made.values())
    return content if wrote else None, made


def _into_xmp_file(
    target: Target, text: str, wish: Wish, existing: bytes | None, theirs: Collection[Said]
) -> _Made:
    if not text and target.is_always_told:
        return _Made(None, "skipped", "the caption is empty")
    if target.kind:
        union = wish.union or Union.of(theirs, wish.texts, wish.own)
        new, _ = into_packet(existing, target, text, union, fresh=file_of)
        return _Made(new, "wrote")
    its_own = [one for one in theirs if one.field == target.field]
    decision = policy.decide(its_own, replace=wish.replace, own=wish.ours(target.field))
    if target.field in wish.kept or decision is not Decision.WRITE:
        is_caption = target.field == CAPTION
        reason = Decision.KEEP.value if is_caption else f"kept existing {target.field.replace('_', ' ')}"
        return _Made(None, "kept", reason)
    if target.field != CAPTION:
        new, previous = into_packet(existing, target, text, NO_KEYWORDS, fresh=file_of)
    elif existing is None:
        new, previous = _described_file(text), None
    else:
        new, previous = describe_both(existing, text)
    return _Made(new, "wrote", previous=_by_others(previous or "", wish.ours(target.field)))


def _described_file(text: str) -> bytes:
    new = file_of(about_in_languages(text, _BOTH))
    for property in _BOTH:
        prove(None, new, text, property)
    return new


def _text_file(wish: Wish, kind: str, existing: bytes | None) -> _Made:
    text = training_text(wish.texts, kind)
    if not text:
        return _Made(
            None, "skipped", "there are no keywords" if kind == "keywords" else "the caption is empty"
        )
    new, existing = f"{text}\n".encode(), existing or b""
    if len(existing) > _LONGEST_TEXT:
        raise Refused("the text that is there is too long to be a description")
    try:
        previous = existing.decode("utf-8-sig").strip("\0").strip()
    except UnicodeDecodeError:
        raise Refused("the text that is there is not in UTF-8") from None
    ours = {*wish.ours(CAPTION), *own_lines(wish.texts, kind), *own_lines(wish.own, kind)}
    if previous and not wish.replace and policy.clean(previous) not in ours:
        return _Made(None, "kept", Decision.KEEP.value)
    return _Made(new, "wrote", previous=_by_others(previous, ours))


def own_lines(texts: Texts | None, kind: str) -> Collection[str]:
    """What photo.txt says of these texts, as one line."""
    return () if texts is None else (policy.clean(training_text(texts, kind)),)


def _by_others(previous: str, ours: Collection[str]) -> str | None:
    line = previous.strip()
    return line if line and policy.clean(line) not in ours else None
