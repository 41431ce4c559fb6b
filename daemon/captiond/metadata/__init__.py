"""Lays texts into a copy of an image's bytes, and proves that nothing else changed.

Pure: bytes in, bytes out, no files, no clock.  `seen` tells what a picture says, `policy` decides once for
all its places, `targets` is the table of places, `blocks` writes them.  One module per container, `tiff` and
`tiff_patch` for the block that EXIF lives in, `xmp` for the packets that a second module per container finds,
`iptc` and `photoshop` for what JPEG has besides, `beside` for the files next to it.  What cannot be proved
safe is refused, with the very same bytes and the reason.  The function `place` is somebody else's, who puts
the block into HEIC and AVIF; `heif` proves what comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from captiond.records import Described, Texts, Written

from . import blocks as writing
from . import iptc, policy, seen, targets
from .blocks import Kept, Skipped
from .heif import Place
from .policy import CAPTION, SWITCHED_OFF, Decision, Said, is_read_by_programs
from .refusal import MISTAKES, Refused
from .targets import AUTO, WINDOWS, Target

TARGET = targets.EXIF_DESCRIPTION.name
XMP_TARGET = targets.XMP_DESCRIPTION.name
IPTC_TARGET = targets.IPTC_CAPTION.name


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a picture before anything is written: what it says, and what becomes of that."""

    said: tuple[Said, ...]
    kept: frozenset[str]  # the texts that somebody else has said already
    replace: bool
    own: Collection[str]  # what is nobody else's word, wherever it stands
    name: str = ""
    signature: str | None = None  # why the bytes may not change

    def keeps(self, field: str = CAPTION) -> bool:
        return field in self.kept


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be laid into a picture, and where."""

    data: bytes = field(repr=False)
    format: str
    texts: Texts
    blocks: str | Collection[str]
    windows: bool
    place: Place | None


def judge(
    data: bytes,
    format: str,
    caption: str,
    *,
    replace: bool = False,
    windows: bool = False,
    beside: Collection[Said] = (),
    own: Collection[str] = (),
    name: str = "",
    is_signed: bool = False,
) -> Judged:
    """One decision for each text of a picture, over all that it says and all that is said `beside` it.

    `replace` overrides a person's description; `own` are captions of ours that may make way; `name` is the
    picture's, which says nothing as a description.  Never raises.
    """
    looked = seen.look(data, format)
    ours = [policy.clean(text) for text in (*own, caption)]
    ours = [*ours, *map(iptc.shortened, ours)]
    said = (*(one for one in looked.said if windows or one.place != WINDOWS), *beside)
    signature = None
    if is_signed:
        signature = "the C2PA manifest beside it signs the bytes that would change"
    elif looked.is_signed_remotely:
        signature = "Content Credentials elsewhere sign the bytes that would change"
    kept = set()
    for text in {one.field for one in said}:
        its_own = [one for one in said if one.field == text]
        if policy.decide(its_own, replace=replace, own=ours, name=name) is Decision.KEEP:
            kept.add(text)
    return Judged(said, frozenset(kept), replace, frozenset(ours), name, signature)


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
    own: Collection[str] = (),
    judged: Judged | None = None,
) -> Described:
    """Lay `texts` into the image, unless a person or a program needs the description that is there.

    `format` is Pillow's name.  `blocks` are the kinds of metadata that are wanted, each of which is written
    or refused on its own, or `auto`; `windows` asks for the tags of Windows' Explorer.  `place` puts a block
    into HEIC and AVIF files; without it they are left alone.  `judged` is given if it was decided before,
    else this decides (see `judge`).  Never raises, whatever the bytes: see `Written.action` and its reason.
    """
    judged = judged or judge(
        data, format, texts.caption, replace=replace, windows=windows, beside=beside, own=own
    )
    wish = _Wish(data, format, texts, blocks, windows, place)
    written: list[Written] = []
    previous: list[str | None] = []
    if "exif" not in blocks and blocks != AUTO:
        written.append(Written(TARGET, "skipped", SWITCHED_OFF))
    for target, text in _wanted(wish, judged):
        data, one, made_way = _attempted(target, text, data, wish, judged)
        written.append(one)
        previous.append(made_way)
    previous += _unwritable(judged) if any(one.action == "wrote" for one in written) else ()
    return Described(data, tuple(written), policy.together(*previous))


def unserved(judged: Judged, written: Collection[Written]) -> bool:
    """Does any block go on saying something else than the caption that was to stand everywhere?"""
    names = {target.block: target.name for target in targets.TABLE if target.is_always_told}
    wrote = {one.target for one in written if one.action == "wrote"}
    left = [one for one in judged.said if one.place in names and names[one.place] not in wrote]
    return not judged.keeps() and any(_says_otherwise(one, judged) for one in left)


def _says_otherwise(said: Said, judged: Judged) -> bool:
    text = policy.clean(said.text or "")
    return said.text is None or bool(text and text not in judged.own and not is_read_by_programs(text))


def _wanted(wish: _Wish, judged: Judged) -> Iterator[tuple[Target, str]]:
    has_iptc = wish.blocks == AUTO and writing.has_iptc(wish.data, wish.format)
    rows = targets.chosen(wish.blocks, windows=wish.windows, said=judged.said, has_iptc=has_iptc)
    for target in rows:
        text = policy.clean(target.text(wish.texts))
        if text or target.is_always_told:
            yield target, text


def _attempted(
    target: Target, text: str, data: bytes, wish: _Wish, judged: Judged
) -> tuple[bytes, Written, str | None]:
    """The image with the text, or the very same bytes; what became of the target; what made way."""

    def untouched(action: str, reason: str) -> tuple[bytes, Written, None]:
        return data, Written(target.name, action, reason), None

    read = writing.reader(wish.format, wish.place)
    if read is None:
        return untouched("skipped", f"captions are not written into {wish.format or 'unknown'} files")
    if not text:
        return untouched("skipped", "the caption is empty")
    if any(map(judged.keeps, target.fields)):
        return untouched("kept", _reason_to_keep(target, judged))
    if judged.signature:
        return untouched("refused", judged.signature)
    try:
        laid = writing.lay(target, text, data, wish.format, read(data))
    except Kept as kept:
        return untouched("kept", str(kept))
    except Skipped as skipped:
        return untouched("skipped", str(skipped))
    except Refused as refused:
        return untouched("refused", str(refused))
    except MISTAKES as error:  # ours, and no reason to keep the image from being delivered as it was
        return untouched("refused", f"unexpectedly: {type(error).__name__}: {error}")
    return laid.data, Written(target.name, "wrote"), laid.previous


def _reason_to_keep(target: Target, judged: Judged) -> str:
    programs = (one for one in judged.said if one.place == target.block == "exif" and one.text)
    if any(is_read_by_programs(one.text or "") for one in programs):
        return Decision.KEEP_FOR_PROGRAMS.value
    return Decision.KEEP.value


def _unwritable(judged: Judged) -> list[str | None]:
    """A person's words that cannot make way where they stand; the JSON says them, too."""
    places = ("png", "takeout")
    said = [one for one in judged.said if one.place in places and one.is_by_person(judged.name, judged.own)]
    return [one.text for one in said] if judged.replace else []
