"""A name beside a file that says that the file is unfinished.

Download programs that make a file as long as it will be before they fill it keep a control file beside it
(`big.jpg.aria2`), and others put what they have of `photo.jpg` into `photo.jpg.part` until it is whole.
As long as such a name is there it is believed: the program that made it knows better than any look inside.
"""

from __future__ import annotations

import os
import re

from captiond.names import shown

# What is appended to the file's name, and by which program.
_SUFFIXES = {
    ".aria2": "aria2",
    ".st": "Axel",
    ".lftp-pget-status": "lftp",
    ".lftp": "lftp",
    ".!ut": "µTorrent",
    ".!qB": "qBittorrent",
    ".!bt": "BitTorrent",
    ".bc!": "BitComet",
    ".tacitpart": "FolderSync",
    ".filepart": "WinSCP",
    ".crdownload": "Chrome",
    ".opdownload": "Opera",
    ".download": "Safari",
    ".partial": "a program that downloads or copies",
    ".part": "a program that downloads or copies",
    ".uploading": "a program that uploads",
    ".incomplete": "a program that downloads or uploads",
    ".inprogress": "a program that downloads or uploads",
}

# Names with a part in between that cannot be guessed from the file's name.
_PATTERNS = (
    (re.compile(r"(.+)\.ocTransferId[^.]+\.part\Z", re.DOTALL | re.IGNORECASE), "Nextcloud or ownCloud"),
    (re.compile(r"(.+)\.[0-9a-f]{8}\.partial\Z", re.DOTALL | re.IGNORECASE), "rclone"),
)
_BY_LOWER = {suffix.lower(): program for suffix, program in _SUFFIXES.items()}


def unfinished_by(name: str) -> tuple[str, str] | None:
    """The file that this name calls unfinished, and the program that says so; None for other names."""
    for pattern, program in _PATTERNS:
        if found := pattern.match(name):
            return found[1], program
    stem, dot, ending = name.rpartition(".")
    by_suffix = _BY_LOWER.get(dot + ending.lower())
    return None if by_suffix is None or not stem else (stem, by_suffix)


Calls = dict[str, set[str]]  # file -> the names beside it that call it unfinished


def note_call(name: str, calls: Calls) -> None:
    """Takes note of this name if it calls a file unfinished."""
    if (told := unfinished_by(name)) is not None:
        calls.setdefault(told[0], set()).add(name)


def calls_of(folder: int, name: str) -> frozenset[str]:
    """The names in the opened folder that call the file `name` unfinished."""
    calls: Calls = {}
    for other in os.listdir(folder):
        note_call(other, calls)
    return frozenset(calls.get(name, ()))


def says_unfinished(folder: int, name: str, known: frozenset[str]) -> str | None:
    """Why the file `name` in the opened folder is unfinished, by a name beside it; None if none says so.

    `known`: names seen beside it that say so; they count only if they are still there.
    """
    beside = {name + suffix for suffix in _SUFFIXES} | known
    there = next((other for other in sorted(beside) if _exists(folder, other)), None)
    if there is None or (told := unfinished_by(there)) is None:
        return None
    return f"{shown(there)} beside it says that {told[1]} has not finished"


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False  # not there, or too long a name to be there
    return True
