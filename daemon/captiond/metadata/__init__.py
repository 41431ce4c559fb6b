"""Lays texts into a copy of an image's bytes, and proves that nothing else changed.

Pure: bytes in, bytes out, no files, no clock.  `seen` tells what a picture says, `policy` decides once for
all its places, `targets` is the table of places, `blocks` writes them.  One module per container, `tiff` and
`tiff_patch` for the block that EXIF lives in, `xmp` and its like for the packets that a second module per
container finds, `iptc` and `photoshop` for what JPEG has besides, `keywords` for lists, `beside` for the
files next to it.  A change that cannot be proved safe is refused, with the very same bytes and the reason.
The caller's function `place` (exiftool) puts the block into HEIC and AVIF; `heif` proves what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial
from itertools import groupby
from typing import TypeVar

from captiond.records import Described, Texts, Written

from . import blocks as writing
from . import iptc, policy, seen, targets
from .blocks import Kept, Laid, LaidPacket, Skipped
from .heif import Place
from .keywords import NO_KEYWORDS, Union
from .policy import ALT_TEXT, CAPTION, LISTS, SWITCHED_OFF, TITLE, Decision, Said, is_read_by_programs
from .refusal import MISTAKES, Refused
from .targets import AUTO, WINDOWS, XMP, Target

TARGET = targets.EXIF_DESCRIPTION.name
XMP_TARGET = targets.XMP_DESCRIPTION.name
IPTC_TARGET = targets.IPTC_CAPTION.name

_SERVING = ("wrote", "kept")

Former = Texts | Collection[str] | None  # texts of ours that may make way; captions, if no more is known


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a picture before anything is written: what it says, and what becomes of that."""

    said: tuple[Said, ...]
    kept: frozenset[str]  # the fields for which a person or another program has said something already
    replace: bool
    ours: Mapping[str, Collection[str]]  # by field: the words that count as ours, wherever they stand
    union: Union = NO_KEYWORDS
    name: str = ""
    signature: str | None = None  # why the bytes may not change

    def keeps(self, field: str = CAPTION) -> bool:
        return field in self.kept


@dataclass(frozen=True, slots=True)
class _Wish:
    """What to lay into a picture, and where."""

    data: bytes = field(repr=False)
    format: str
    texts: Texts
    own: Texts | None
    blocks: str | Collection[str]
    windows: bool
    place: Place | None
    title_as: str


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one target, and the former text that its text replaced."""

    written: Written
    previous: str | None = None


def judge(
    data: bytes,
    format: str,
    texts: Texts,
    *,
    replace: bool = False,
    windows: bool = False,
    beside: Collection[Said] = (),
    own: Former = None,
    name: str = "",
    is_signed: bool = False,
) -> Judged:
    """One decision for each text of a picture, over all that it says and all that is said `beside` it.

    `replace` overrides what a person wrote; `own` are former texts of ours, which may be replaced; `name` is
    the picture's file name, which does not count as a description.  Never raises.
    """
    looked = seen.look(data, format)
    said = (*(one for one in looked.said if windows or one.place != WINDOWS), *beside)
    signature = None
    if is_signed:
        signature = "the C2PA manifest beside it signs the bytes that would change"
    elif looked.is_signed_remotely:
        signature = "Content Credentials elsewhere sign the bytes that would change"
    ours = our_words(texts, own)
    kept = set()
    for text in {one.field for one in said} - LISTS:
        its_own = [one for one in said if one.field == text]
        if policy.decide(its_own, replace=replace, own=ours[text], name=name) is Decision.KEEP:
            kept.add(text)
    union = Union.of(said, texts, _former(own))
    return Judged(said, frozenset(kept), replace, ours, union, name, signature)


def kept_fields(written: Collection[Written]) -> frozenset[str]:
    """The fields for which another's words stayed, in or beside the picture."""
    fields = {target.name.removeprefix("xmp:"): target.field for target in targets.TABLE}
    kept = (one.target for one in written if one.action == "kept")
    names = (name.removeprefix("xmp-sidecar:").removeprefix("xmp:") for name in kept)
    return frozenset(fields[name] for name in names if name in fields)


def our_words(texts: Texts, own: Former) -> Mapping[str, frozenset[str]]:
    """By field, what we say and said before, in the form of each place."""
    if own is None or isinstance(own, Texts):
        said = [texts] if own is None else [texts, own]
        captions = [one.caption for one in said]
    else:
        said, captions = [texts], [texts.caption, *own]
    cleaned = list(map(policy.clean, captions))
    titles = [policy.clean(one.title or "") for one in said]
    return {
        CAPTION: frozenset([*cleaned, *map(iptc.shortened, cleaned)]),
        # Explorer's title is the caption if there is no other title.
        TITLE: frozenset([*titles, *map(iptc.shortened_title, titles), *cleaned]),
        ALT_TEXT: frozenset(policy.clean(one.alt_text or "") for one in said),
    }


def describe(
    data: bytes,
    format: str,
    texts: Texts,
    *,
    replace: bool = False,
    blocks: str | Collection[str] = ("exif",),
    windows: bool = False,
    place: Place | None = None,
    beside: Collection[Said] = (),
    own: Former = None,
    title_as: str = "title",
    judged: Judged | None = None,
) -> Described:
    """Lay `texts` into the image, unless a person or a program needs what is there.

    `format` is Pillow's name.  `blocks` are the wanted kinds of metadata, or `auto`; in each, every text is
    written or refused on its own.  `windows` asks for the tags of Windows' Explorer.  `place` puts a block
    into HEIC and AVIF files; without it they are left alone.  `judged`: an earlier decision; if None, `judge`
    decides.  Never raises, whatever the bytes: see `Written.action` and its reason.
    """
    judged = judged or judge(data, format, texts, replace=replace, windows=windows, beside=beside, own=own)
    wish = _Wish(data, format, texts, _former(own), blocks, windows, place, title_as)
    made = []
    if "exif" not in blocks and blocks != AUTO:
        made.append(_Made(Written(TARGET, "skipped", SWITCHED_OFF)))
    for is_xmp, rows in groupby(_wanted(wish, judged), lambda row: row[0].block == XMP):
        data, some = (_laid_into_xmp if is_xmp else _laid)(list(rows), data, wish, judged)
        made += some
    previous = [one.previous for one in made]
    previous += _unwritable(judged) if any(one.written.action == "wrote" for one in made) else ()
    return Described(data, tuple(one.written for one in made), policy.together(*previous))


def unserved(judged: Judged, written: Collection[Written]) -> bool:
    """Does some block still say something else than the caption, or is some text nowhere in the image?"""
    names = {target.block: target.name for target in targets.TABLE if target.is_always_told}
    wrote = {one.target for one in written if one.action == "wrote"}
    said = [one for one in judged.said if one.place in names and one.field == CAPTION]
    left = [one for one in said if names[one.place] not in wrote]
    if not judged.keeps() and any(_says_otherwise(one, judged) for one in left):
        return True
    homes = [one for one in targets.TABLE if one.field != CAPTION and one.block != WINDOWS]
    fields = {target.name: target.field for target in homes}
    served = {fields[one.target] for one in written if one.target in fields and one.action in _SERVING}
    return any(fields[one.target] not in served for one in written if one.target in fields)


def _says_otherwise(said: Said, judged: Judged) -> bool:
    text = policy.clean(said.text or "")
    return said.text is None or bool(
        text and text not in judged.ours[CAPTION] and not is_read_by_programs(text)
    )


def _former(own: Former) -> Texts | None:
    return own if isinstance(own, Texts) else None


def _wanted(wish: _Wish, judged: Judged) -> Iterator[tuple[Target, str]]:
    has_more = any(
        targets.says(target, wish.texts, wish.own) for target in targets.TABLE if target.field != CAPTION
    )
    rows = targets.chosen(
        wish.blocks,
        windows=wish.windows,
        said=judged.said,
        has_iptc=wish.blocks == AUTO and writing.has_iptc(wish.data, wish.format),
        has_more=has_more,
        title_as=wish.title_as,
    )
    for target in rows:
        if target.is_always_told or targets.says(target, wish.texts, wish.own):
            yield target, policy.clean(target.text(wish.texts))


def _laid(
    rows: Collection[tuple[Target, str]], data: bytes, wish: _Wish, judged: Judged
) -> tuple[bytes, list[_Made]]:
    """The image with these texts, one after the other; what became of each target."""
    made = []
    for target, text in rows:
        act = partial(_lay, target, text, data, wish, judged)
        laid, written = _attempted(target, text, act, wish, judged)
        data = laid.data if laid else data
        made.append(_Made(written, _others_words(target, laid.previous, judged) if laid else None))
    return data, made


def _others_words(target: Target, previous: str | None, judged: Judged) -> str | None:
    """The replaced text, unless it was ours; for captions the record knows that itself."""
    others = [field for field in target.fields if field != CAPTION]
    is_ours = any(policy.clean(previous or "") in judged.ours[field] for field in others)
    return None if is_ours else previous


def _lay(target: Target, text: str, data: bytes, wish: _Wish, judged: Judged) -> Laid:
    read = writing.reader(wish.format, wish.place)
    assert read is not None
    return writing.lay(target, text, judged.union, data, read(data))


def _laid_into_xmp(
    rows: Collection[tuple[Target, str]], data: bytes, wish: _Wish, judged: Judged
) -> tuple[bytes, list[_Made]]:
    """Like `_laid`, for texts that share one packet, which is laid into the image once."""
    latest: LaidPacket | None = None
    made = []
    for target, text in rows:
        act = partial(_lay_into_packet, target, text, latest, data, wish, judged)
        laid, written = _attempted(target, text, act, wish, judged)
        latest = laid or latest
        made.append(_Made(written, _others_words(target, laid.previous, judged) if laid else None))
    if latest is None or latest.data is data:
        return data, made
    proof = _tried(latest.prove)
    if proof is None:
        return latest.data, made
    return data, [_Made(changed(one.written, action=proof[0], reason=proof[1])) for one in made]


def _lay_into_packet(
    target: Target, text: str, latest: LaidPacket | None, data: bytes, wish: _Wish, judged: Judged
) -> LaidPacket:
    read = writing.reader(wish.format, wish.place)
    if latest is None and read is not None:
        read(data)
    return writing.lay_into_packet(target, text, judged.union, latest or LaidPacket.of(data, wish.format))


Result = TypeVar("Result")


def _attempted(
    target: Target, text: str, act: Callable[[], Result], wish: _Wish, judged: Judged
) -> tuple[Result | None, Written]:
    """The result of `act`, if it is allowed and succeeds; and what became of the target."""

    def untouched(action: str, reason: str) -> tuple[None, Written]:
        return None, Written(target.name, action, reason)

    if writing.reader(wish.format, wish.place) is None:
        return untouched("skipped", f"captions are not written into {wish.format or 'unknown'} files")
    if not text and target.is_always_told:
        return untouched("skipped", "the caption is empty")
    if any(map(judged.keeps, target.fields)):
        return untouched("kept", _reason_to_keep(target, judged))
    if judged.signature:
        return untouched("refused", judged.signature)
    made: list[Result] = []
    trouble = _tried(lambda: made.append(act()))
    return untouched(*trouble) if trouble else (made[0], Written(target.name, "wrote"))


def _tried(act: Callable[[], None]) -> tuple[str, str] | None:
    """The action to report instead of "wrote", and why; None if `act` succeeded."""
    try:
        act()
    except Kept as kept:
        return "kept", str(kept)
    except Skipped as skipped:
        return "skipped", str(skipped)
    except Refused as refused:
        return "refused", str(refused)
    except MISTAKES as error:  # a bug of ours must not keep the image from being delivered as it was
        return "refused", f"unexpectedly: {type(error).__name__}: {error}"
    return None


def _reason_to_keep(target: Target, judged: Judged) -> str:
    if target.field != CAPTION:
        return f"kept existing {target.field.replace('_', ' ')}"
    programs = (one for one in judged.said if one.place == target.block == "exif" and one.text)
    if any(is_read_by_programs(one.text or "") for one in programs):
        return Decision.KEEP_FOR_PROGRAMS.value
    return Decision.KEEP.value


def _unwritable(judged: Judged) -> list[str | None]:
    """A person's words in places that are never written; the JSON keeps them as the previous ones, too."""
    places = ("png", "takeout")
    said = [
        one
        for one in judged.said
        if one.place in places and one.is_by_person(judged.name, judged.ours[one.field])
    ]
    return [one.text for one in said] if judged.replace else []
