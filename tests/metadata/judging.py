"""The verdict on a file that somebody wrote a caption into: clean, refused, or what was harmed."""

from __future__ import annotations

import ast
import hashlib
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from PIL import Image

from .independent import (
    Tags,
    exiftool_others,
    exiftool_tags,
    is_exif,
    jpeg_parts,
    new_complaints,
    pillow_description,
    pixels,
)
from .making import CAPTION

IsCarrier = Callable[[tuple[int, bytes]], bool]
EXIF: Mapping[str, IsCarrier] = {"IFD0:ImageDescription": is_exif}


def decodable(folder: Path) -> dict[str, tuple[str, Path]]:
    """A flat name -> (Pillow's name of the format, path), for all files that Pillow decodes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(path) as image:
                    format = str(image.format)
                    image.load()
        except (EOFError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # EOFError: pillow-heif, which other tests register, says so of a cut HEIC
        found["_".join(path.relative_to(folder).parts)] = format, path
    return found


UNREADABLE = (
    AssertionError,
    LookupError,
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)

# exiftool before 12.62 gives a new block a resolution that nobody knows; that is not held against it.
INVENTED = {f"IFD0:{name}" for name in ("XResolution", "YResolution", "ResolutionUnit", "YCbCrPositioning")}


def afcp_reach(jpeg: bytes) -> int | None:
    """How far an AFCP trailer's first absolute offset leads beyond the trailer's beginning."""
    at = jpeg.find(b"AXS!\0\1")
    return int.from_bytes(jpeg[at + 20 : at + 24], "big") - at if at >= 0 else None


def _says(new: list[str] | None, old: list[str] | None, text: str) -> bool:
    """Does a tag say the text?  Of a list: what it said before, first, and all that the text lists.

    An empty list reads as one empty word.
    """
    if not text.startswith("["):
        return new == [text]
    words, were = (
        _listed(new),
        [word for word in _listed(old) if word],
    )
    return words[: len(were)] == were and set(_listed([text])) <= set(words)


def _listed(values: list[str] | None) -> list[str]:
    if not values:
        return []
    return list(map(str, ast.literal_eval(values[0]))) if values[0].startswith("[") else values


def harm(
    old: bytes,
    new: bytes,
    old_tags: Tags,
    new_tags: Tags,
    carriers: Mapping[str, IsCarrier],
    says: Mapping[str, str],
) -> str | None:
    """What is wrong with a file after a caption was written into it as these tags, in these segments."""
    if old[:2] == b"\xff\xd8":
        (before, scan), (after, new_scan) = jpeg_parts(old), jpeg_parts(new)
        others, new_others = (
            [s for s in part if not any(is_carrier(s) for is_carrier in carriers.values())]
            for part in (before, after)
        )
        if scan != new_scan or others != new_others:
            return "segments or scans changed"
        if afcp_reach(old) != afcp_reach(new):
            return "the AFCP trailer counts to another place"
    if original_pixels(old) != hashed_pixels(new):
        return "the pixels changed"
    if EXIF.keys() <= carriers.keys() and pillow_description(new) not in (CAPTION, None):
        return "the caption does not read back"
    if not new_tags:  # no exiftool
        return None
    if not all(_says(new_tags.get(tag), old_tags.get(tag), says.get(tag, CAPTION)) for tag in carriers):
        return "the caption does not read back"
    has_iptc = any(tag.startswith("IPTC:") for tag in carriers)
    ours = (*carriers, *(["Photoshop:IPTCDigest"] if has_iptc else []))
    tags, were = exiftool_others(new_tags, *ours), exiftool_others(old_tags, *ours)
    changed = {tag for tag in tags | were if tags.get(tag) != were.get(tag)}
    if changed:
        return (
            f"tags invented: {sorted(changed)}"
            if changed <= INVENTED - were.keys()
            else f"tags changed: {sorted(changed)}"
        )
    complaints = new_complaints(old_tags, new_tags)
    return f"exiftool complains: {sorted(complaints)}" if complaints else None


def hashed_pixels(data: bytes) -> list[object]:
    """The frames, each by its hash, so that those of many files may be remembered."""
    return [
        (*frame[:2], hashlib.sha256(frame[2]).digest()) if isinstance(frame, tuple) else frame
        for frame in pixels(data)
    ]


original_pixels = cache(hashed_pixels)  # the same files are judged more than once


def judged(
    old: dict[str, bytes],
    old_tags: dict[str, Tags],
    new_folder: Path,
    carriers: Mapping[str, Mapping[str, IsCarrier]] | None = None,
    says: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """clean, refused or what was harmed, for each file as it now lies in `new_folder`.

    `old_tags` is what exiftool saw before.  `carriers` says for a file which tags hold the caption, and in
    which segments of a JPEG: EXIF's alone.  `says` tells of tags that hold another text, or a list.
    """
    new_tags = exiftool_tags(new_folder)
    verdicts = {}
    for name, data in old.items():
        new = (new_folder / name).read_bytes()
        if new == data:
            verdicts[name] = "refused"
            continue
        try:
            tags = old_tags.get(name, {}), new_tags.get(name, {})
            verdicts[name] = harm(data, new, *tags, (carriers or {}).get(name, EXIF), says or {}) or "clean"
        except UNREADABLE as error:
            verdicts[name] = f"unreadable: {error!r}"
    return verdicts


def counted(verdicts: dict[str, str]) -> Counter[str]:
    kinds = {"clean": "clean", "refused": "refused", "tags invented": "with invented tags"}
    return Counter(kinds.get(verdict.partition(":")[0], "damaged") for verdict in verdicts.values())


def copied(tmp_path: Path, name: str, files: dict[str, bytes]) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return folder
