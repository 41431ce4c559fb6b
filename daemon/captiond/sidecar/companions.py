"""Which names travel with a picture, and which pictures a name may travel with.

Pure: names in, names out.  A companion's name is the picture's with more behind it (`photo.jpg.xmp`), or its
stem with another ending (`photo.AAE`), or is made from it in one of the ways of `FORMS`, so that both can be
renamed together.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

from captiond.formats import ENDINGS, endings_that_take, raw

XMP = ".xmp"
TEXT = ".txt"
JSON = ".json"
C2PA = ".c2pa"  # Content Credentials of a picture, if they are not embedded in it

RAW = tuple(f".{ending}" for ending in raw.ENDINGS)
_MOTION = (".mov", ".mp4", ".m4v", ".mp")
# What raw converters and editors note about a picture, and what cameras put beside it: DxO, RawTherapee, ART,
# ON1, Adobe, Canon, Nikon, SilkyPix, Affinity; a voice, a small picture and a small film.
_EDITS = (".dop", ".pp3", ".arp", ".on1", ".acr", ".vrd", ".dr4", ".nksc", ".spd", ".afphoto")
_OF_CAMERAS = (".wav", ".thm", ".lrv")
# Google Takeout cuts `photo.jpg.supplemental-metadata` short, wherever that makes the name short enough.
_TAKEOUT = "supplemental-metadata"
_LONGEST_IN_TAKEOUT = 46  # characters before ".json"
_NUMBERED = re.compile(r"(.+)(\(\d{1,4}\))(\.[^.]*)", re.DOTALL)
_NUMBERED_JSON = re.compile(r".*\(\d{1,4}\)\.json", re.DOTALL | re.IGNORECASE)
_EDITED = re.compile(
    r"(.+)-(?:edited|bearbeitet|modifi(?:\u00e9|e\u0301)|modificato|(?:ha )?editado|editada|editat|bewerkt"
    r"|edytowane|redigeret|redigerad|redigert|muokattu|upraveno|\u7de8\u96c6\u6e08\u307f)"
    r"(\(\d{1,4}\))?(\.[^.]*)",
    re.DOTALL | re.IGNORECASE,
)
_OF_APPLE = re.compile(r"([A-Z]{3}_)(\d{4}.*)", re.DOTALL)
_GIVEN = re.compile(r".*~[0-9a-f]{8}(?:-\d+)?(?:\.[^.]*)?", re.DOTALL)  # a name that we gave: see `names`
_DUPLICATE = re.compile(r"_\d{2,3}(\..+)\.xmp", re.DOTALL | re.IGNORECASE)  # darktable's

# Names that say that a file is unfinished, or only of use to the program that made it: no companions.
_UNFINISHED = re.compile(
    r".*(?:\.(?:aria2|st|lftp|lftp-pget-status|!ut|!qb|!bt|bc!|tacitpart|filepart|crdownload|opdownload|download"
    r"|partial|part|uploading|incomplete|inprogress|tmp|temp|lock|swp|bak)|~)",
    re.DOTALL | re.IGNORECASE,
)
_OURS = (".caption.json", ".error.json")


def _before(base: str, suffix: str) -> str:
    """macOS puts the attributes that other file systems cannot keep into `._photo.jpg`."""
    return suffix + base


def _original(base: str, suffix: str) -> str | None:
    """An iPhone's `IMG_O1234.AAE` tells of the edits of `IMG_1234.HEIC`."""
    found = _OF_APPLE.fullmatch(stem_of(base))
    return f"{found[1]}O{found[2]}{suffix}" if found else None


def _numbered(base: str, suffix: str) -> str | None:
    """Takeout puts the number of `photo(1).jpg` behind the whole name: `photo.jpg(1).json`."""
    found = _NUMBERED.fullmatch(base)
    if found is None:
        return None
    return (found[1] + found[3] + suffix.removesuffix(JSON))[:_LONGEST_IN_TAKEOUT] + found[2] + JSON


def _cut(base: str, suffix: str) -> str | None:
    """Takeout also cuts long names of pictures: the JSON's name begins with their first 46 characters."""
    is_whole = len(base) <= _LONGEST_IN_TAKEOUT or _GIVEN.fullmatch(base) or _NUMBERED.fullmatch(base)
    return None if is_whole else base[:_LONGEST_IN_TAKEOUT] + suffix


def _edited(base: str, suffix: str) -> str | None:
    """Takeout has one JSON for `photo.jpg` and `photo-edited.jpg`."""
    original = original_of(base)
    return (_numbered(original, suffix) or original + suffix) if original else None


def _motion(base: str, suffix: str) -> str | None:
    """The film of `PXL_1.MP.jpg` is `PXL_1.MP`."""
    stem = stem_of(base)
    return stem if stem.upper().endswith(suffix) else None


EDITED = "edited"
# Each makes a companion's name from a picture's base name and a suffix, or None if the base name is not of
# its kind.
FORMS: Mapping[str, Callable[[str, str], str | None]] = {
    "before": _before,
    "original": _original,
    "numbered": _numbered,
    "cut": _cut,
    "motion": _motion,
    EDITED: _edited,
}


@dataclass(frozen=True, slots=True)
class Tail:
    """How a companion's name is made from a picture's: an ending on its name or on its stem, or a form."""

    suffix: str
    on_stem: bool = False
    form: str = ""

    def of(self, name: str) -> str:
        """The companion's name, or path, for the picture `name`; no two tails give the same."""
        if self.form:
            folder, slash, base = name.rpartition("/")
            made = FORMS[self.form](base, self.suffix)
            return folder + slash + (made or f"{base}.{self.form}{self.suffix}")
        return (stem_of(name) if self.on_stem else name) + self.suffix


class Names:
    """The names in a folder, sorted, to find a few among many."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)

    def __contains__(self, name: str) -> bool:
        at = bisect_left(self._sorted, name)
        return at < len(self._sorted) and self._sorted[at] == name

    def starting_with(self, start: str) -> Iterator[str]:
        for at in range(bisect_left(self._sorted, start), len(self._sorted)):
            if not self._sorted[at].startswith(start):
                return
            yield self._sorted[at]


def names_of(name: str, tails: Iterable[Tail]) -> list[str]:
    """The names of companions that the tails make from the picture's name."""
    stem = stem_of(name)
    return [tail.of(name) if tail.form else (stem if tail.on_stem else name) + tail.suffix for tail in tails]


def tails_in(names: Names, name: str, *, text: bool) -> list[Tail]:
    """The tails of all `names` that belong to the picture `name`; of each kind the more common first."""
    known = tails_of(name, text=text)
    found = {
        beside: tail
        for tail, beside in zip(reversed(known), reversed(names_of(name, known)), strict=True)
        if beside in names and beside != name
    }
    there = list(dict.fromkeys(beside for beside in names_of(name, known) if beside in found))
    stem = stem_of(name)
    shots = [name, *(other for other in there if is_raw(found[other]))]
    for other in dict.fromkeys((*_behind(shots, names), *_duplicates(stem, shots, names))):
        if other not in found:
            is_on_name = other.startswith(f"{name}.")
            found[other] = Tail(other[len(name if is_on_name else stem) :], on_stem=not is_on_name)
            there.append(other)
    return [found[other] for other in there]


def _behind(shots: Iterable[str], names: Names) -> Iterator[str]:
    """What has the whole name of the picture, or of its RAW, before it."""
    for shot in shots:
        yield from (other for other in names.starting_with(f"{shot}.") if _is_free(other, shot, names))


def _duplicates(stem: str, shots: Collection[str], names: Names) -> Iterator[str]:
    """darktable's duplicates of the picture, or of its RAW."""
    for other in names.starting_with(f"{stem}_"):
        duplicate = _DUPLICATE.fullmatch(other[len(stem) :])
        if duplicate and stem + duplicate[1] in shots and stem_of(other) not in names:
            yield other


@cache
def tails(*, text: bool) -> tuple[Tail, ...]:
    """The tails of all known companions of a picture; of each kind the more common first.

    `text`: whether `photo.txt` belongs to it, although any text may have that name.
    """
    takeout = [JSON, *(f".{_TAKEOUT[:length]}{JSON}" for length in range(len(_TAKEOUT), 0, -1))]
    edits = [ending for end in (*_EDITS, *_OF_CAMERAS) for ending in _cases(end)]
    on_name = (XMP, XMP.upper(), *takeout, *_cases(C2PA), *edits)
    aae = [f".{''.join(letters)}" for letters in product("Aa", "Aa", "Ee")]
    both_cases = (ending for end in (*_MOTION, *RAW, *((TEXT,) if text else ())) for ending in _cases(end))
    on_stem = (*_cases(XMP), *_cases(C2PA), *aae, *both_cases, *edits)
    formed = (
        *(Tail(ending, form="numbered") for ending in takeout),
        Tail(JSON, form="cut"),
        *(Tail(ending, form=EDITED) for ending in takeout),
        *(Tail(ending, form="original") for ending in aae),
        Tail(".MP", form="motion"),
        Tail("._", form="before"),
    )
    return (*map(Tail, on_name), *(Tail(end, on_stem=True) for end in on_stem), *formed)


def tails_of(name: str, *, text: bool) -> tuple[Tail, ...]:
    """The tails of all known companions of this picture: a RAW takes no other RAW along."""
    known = tails(text=text)
    return tuple(one for one in known if not is_raw(one)) if raw.has_ending(name) else known


def is_raw(tail: Tail) -> bool:
    """Whether it is the tail of a camera's RAW of the same shot."""
    return tail.on_stem and tail.suffix.lower() in RAW


def raw_endings() -> Iterator[Tail]:
    """The tails of RAW files that may lie beside a picture."""
    return (Tail(suffix, on_stem=True) for ending in RAW for suffix in _cases(ending))


def credentials_of(name: str) -> list[str]:
    """The names that a file with the picture's Content Credentials may have."""
    return names_of(name, (Tail(ending, on_stem=stem) for ending in _cases(C2PA) for stem in (False, True)))


def notes_of(tail: Tail) -> Tail | None:
    """The tail of the notes that a raw converter writes about a RAW that travels along: `photo.NEF.xmp`."""
    return Tail(tail.suffix + XMP, on_stem=True) if is_raw(tail) else None


def original_of(name: str) -> str | None:
    """The picture of which `name` is Takeout's edited twin; None for all others."""
    found = _EDITED.fullmatch(name)
    return f"{found[1]}{found[2] or ''}{found[3]}" if found else None


def pictures_of(name: str, extensions: Iterable[str] | None = None, *, text: bool) -> Iterator[str]:
    """The pictures with which the file `name` may travel; `extensions` are theirs, without a dot.

    If none are given, those of the formats that are served here.
    """
    extensions = endings_that_take(name) if extensions is None else extensions
    endings = [f".{extension}" for lower in extensions for extension in (lower, lower.upper())]
    folder, slash, base = name.rpartition("/")
    told: set[str] = set()
    for picture in (*_by_endings(name, endings, text=text), *_by_forms(base, endings)):
        path = picture if "/" in picture or not slash else folder + slash + picture
        if path != name and path not in told:
            told.add(path)
            yield path


def pictures_among(name: str, names: Names) -> Iterator[str]:
    """The pictures among `names` that take the file `name` along although its name does not give theirs.

    Takeout cuts long ones, and has one JSON for a picture and its edited twin.
    """
    known = tails(text=False)
    for other in names.starting_with(name.partition(".")[0]):
        if _is_picture(other) and name in names_of(other, known):
            yield other


def _by_endings(name: str, endings: Iterable[str], *, text: bool) -> Iterator[str]:
    for tail in tails(text=text):
        for one in filter(None, (tail, notes_of(tail))):
            base = name.removesuffix(one.suffix)
            if not one.form and base != name and base.rpartition("/")[2]:
                yield from (base + ending for ending in endings) if one.on_stem else (base,)


def _by_forms(base: str, endings: list[str]) -> Iterator[str]:
    """The names of pictures from which a form, or a free suffix, makes this name."""
    for at, char in enumerate(base):
        if char == "." and at and _may_travel(base):
            yield from _shot(base[:at], endings)
    if base.startswith("._"):
        yield base.removeprefix("._")
    apple = re.fullmatch(r"([A-Z]{3}_)O(\d{4}.*)\.aae", base, re.DOTALL | re.IGNORECASE)
    if apple:
        yield from (apple[1] + apple[2] + ending for ending in endings)
    json = re.fullmatch(r"(.+?)(\.[^.()]+)(\.[\w-]*)?(\(\d{1,4}\))\.json", base, re.DOTALL)
    if json and json[2] in endings:
        yield json[1] + json[4] + json[2]
    duplicate = re.fullmatch(r"(.+)_\d{2,3}(\.[^.]+)\.xmp", base, re.DOTALL | re.IGNORECASE)
    if duplicate:
        yield from _shot(duplicate[1] + duplicate[2], endings)
    if base.upper().endswith(".MP"):
        yield from (base + ending for ending in endings)


def _shot(name: str, endings: list[str]) -> Iterator[str]:
    """`name` if a picture may have it, and the pictures that take it along if it is a RAW's."""
    if name.endswith(tuple(endings)):
        yield name
    if raw.has_ending(name):
        yield from (stem_of(name) + ending for ending in endings)


def _is_free(other: str, name: str, names: Names) -> bool:
    """May `other` be this picture's companion, and not that of a longer name, or none at all?"""
    if not _may_travel(other) or _NUMBERED_JSON.fullmatch(other):
        return False
    longer = (other[:at] for at in range(len(name) + 1, len(other)) if other[at] == ".")
    return not any(_is_picture(one) and one in names for one in longer)


def _may_travel(name: str) -> bool:
    is_ours = name.endswith(_OURS)
    return not (is_ours or _is_picture(name) or _UNFINISHED.fullmatch(name))


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1][1:].lower() in ENDINGS  # noqa: PTH122 - a name with surrogates


def stem_of(name: str) -> str:
    """The name without its ending."""
    return os.path.splitext(name)[0]  # noqa: PTH122 - a name with surrogates, not a path


def _cases(ending: str) -> tuple[str, str]:
    return ending, ending.upper()
