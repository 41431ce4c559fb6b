"""Traces that cannot be understood: they go to `.captiond/not-understood/`, with a notice to the owner.

They are renamed and never removed, since what lies beside a forged or damaged trace may be the last copy of
an image.  Nothing here reads them again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import count

from captiond.delivery.files import enter
from captiond.delivery.moves import move_at_once
from captiond.names import shown
from captiond.records import Notice
from captiond.support.openat import sync_folder

FOLDER = "not-understood"

Tell = Callable[[Notice], None]


def unheard(_: Notice) -> None:
    """For callers that want no notices."""


def put_by(work: int, folder: int, names: Iterable[str], why: object, where: object, tell: Tell) -> None:
    """Move `names` out of `folder` into `not-understood/` of the `.captiond/` that `work` stands for.

    `where`: what to call that `.captiond/`.  A file that cannot be moved stays, and its notice says so.
    """
    kept = enter(work, FOLDER, 0o700)
    try:
        for name in names:
            try:
                moved = f"moved to {where}/{FOLDER}/{shown(_moved(folder, name, kept))}"
            except OSError as error:
                moved = f"which stays there: {error.strerror}"
            tell(
                Notice(
                    "not_understood",
                    f"{where} held what captiond did not write, {shown(name)} ({why}), {moved}; "
                    "if no picture is missing, it can be removed",
                )
            )
        sync_folder(kept)
        sync_folder(folder)
    finally:
        os.close(kept)


def _moved(folder: int, name: str, kept: int) -> str:
    for number in count(1):
        free = name if number == 1 else f"{name}~{number}"
        try:
            move_at_once(folder, name, kept, free)
        except FileExistsError:
            continue
        break
    return free
