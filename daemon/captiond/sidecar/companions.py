"""Which names travel with a picture, and which pictures a name may travel with.

Pure: names in, names out.  A companion's name is the picture's with more behind it (`photo.jpg.xmp`), or has
another ending on its stem (`photo.AAE`), so that both can be given another name together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

XMP = ".xmp"
TEXT = ".txt"
JSON = ".json"
C2PA = ".c2pa"  # Content Credentials of a picture that they are not embedded into

_RAW = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
    ".x3f",
)  # fmt: skip
_MOTION = (".mov", ".mp4", ".m4v")
# Google Takeout cuts `photo.jpg.supplemental-metadata` short, wherever that makes the name short enough.
_TAKEOUT = "supplemental-metadata"


@dataclass(frozen=True, slots=True)
class Tail:
    """What makes another file's name of a picture's: an ending, on its whole name or on its stem."""

    suffix: str
    on_stem: bool = False

    def of(self, name: str) -> str:
        """The name, or path, that belongs to the picture `name`."""
        return (_stem(name) if self.on_stem else name) + self.suffix


def names_of(name: str, tails: Iterable[Tail]) -> list[str]:
    """What each tail makes of the picture's name."""
    stem = _stem(name)
    return [(stem if tail.on_stem else name) + tail.suffix for tail in tails]


@cache
def tails(*, text: bool) -> tuple[Tail, ...]:
    """All that may lie beside a picture; of each kind the better known first.

    `text`: whether `photo.txt` belongs to it, which any text may be called.
    """
    takeout = (f".{_TAKEOUT[:length]}.json" for length in range(len(_TAKEOUT), 0, -1))
    on_name = (XMP, XMP.upper(), JSON, *takeout, *_cases(C2PA))
    aae = ("".join(letters) for letters in product("Aa", "Aa", "Ee"))
    both_cases = (ending for end in (*_MOTION, *_RAW, *((TEXT,) if text else ())) for ending in _cases(end))
    on_stem = (*_cases(XMP), *_cases(C2PA), *(f".{end}" for end in aae), *both_cases)
    return (*map(Tail, on_name), *(Tail(end, on_stem=True) for end in on_stem))


def credentials_of(name: str) -> list[str]:
    """What files with Content Credentials of the picture may be called."""
    return names_of(name, (Tail(ending, on_stem=stem) for ending in _cases(C2PA) for stem in (False, True)))


def notes_of(tail: Tail) -> Tail | None:
    """What a raw converter writes about a raw file that travels along: `photo.NEF.xmp`."""
    return Tail(tail.suffix + XMP, on_stem=True) if tail.suffix.lower() in _RAW else None


def pictures_of(name: str, extensions: Iterable[str], *, text: bool) -> Iterator[str]:
    """The pictures with which the file `name` may travel; `extensions` are theirs, without a dot."""
    on_stem = [f".{extension}" for lower in extensions for extension in (lower, lower.upper())]
    for tail in tails(text=text):
        for one in filter(None, (tail, notes_of(tail))):
            base = name.removesuffix(one.suffix)
            if base != name and base.rpartition("/")[2]:
                yield from (base + extension for extension in on_stem) if one.on_stem else (base,)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - a name with surrogates, not a path


def _cases(ending: str) -> tuple[str, str]:
    return ending, ending.upper()
