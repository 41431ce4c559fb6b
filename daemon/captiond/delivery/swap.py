"""Giving a staged file its name: a free one, or the name of the very file that it was made from.

Both folders are descriptors.  The old file is known by its checksum; a file that another program put there
meanwhile, or writes into, keeps its name.  If a file system knows no exchange, the file is looked at once
more and renamed over: between the two lie microseconds.
"""

from __future__ import annotations

import os

from captiond.delivery.files import remove, sha256_of
from captiond.delivery.moves import REFUSES_FLAG, Move
from captiond.delivery.moves import exchange as exchange_names
from captiond.delivery.moves import move as move_to_free_name
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import FILE, sync_folder


def swap(
    source: int, staged: str, folder: int, name: str, old: str, *, exchange: Move = exchange_names
) -> bool:
    """Exchange the two if `name` is the file whose checksum is `old`; else undo what was done.

    True: `name` is the new file now, and `staged` the old one or nothing.
    """
    file = os.open(name, FILE, dir_fd=folder)
    try:
        try:
            exchange(source, staged, folder, name)
        except OSError as error:
            if error.errno not in REFUSES_FLAG:
                raise
            is_ours = _is_still(folder, name, file, old)
            if is_ours:
                os.rename(staged, name, src_dir_fd=source, dst_dir_fd=folder)
        else:
            is_ours = _is_still(source, staged, file, old)
            if not is_ours:
                exchange(source, staged, folder, name)
    finally:
        os.close(file)
    return is_ours


def put(
    folder: int,
    staged: str,
    name: str,
    old: str | None,
    *,
    move: Move = move_to_free_name,
    exchange: Move = exchange_names,
) -> bool:
    """Give `staged` the name, durably; `old`: the checksum of the file that makes way, None if there is none.

    False, and all is as it was, if something else lies there.
    """
    try:
        if old is None:
            move(folder, staged, folder, name)
        elif swap(folder, staged, folder, name, old, exchange=exchange):
            sync_folder(folder)  # the new one, before the old one goes
            remove(folder, staged)
        else:
            return False
    except (FileExistsError, FileNotFoundError):
        return False
    sync_folder(folder)
    return True


def take(
    folder: int, name: str, target: int, staged: str, old: str, *, move: Move = move_to_free_name
) -> bool:
    """Take the file out of `folder`, durably, if its checksum is `old`; else it goes back to its name.

    `staged` is free, or a second name that a power cut left on the file: renaming onto that would do nothing.

    Raises: FileNotFoundError, if there is none; FileExistsError, if another has the name meanwhile: then what
    was taken is still `staged`.
    """
    file = os.open(name, FILE, dir_fd=folder)
    try:
        remove(target, staged)
        os.rename(name, staged, src_dir_fd=folder, dst_dir_fd=target)
        sync_folder(target)  # where it is now, before where it is no more
        is_ours = _is_still(target, staged, file, old)
        if not is_ours:
            move(target, staged, folder, name)
        sync_folder(folder)
    finally:
        os.close(file)
    return is_ours


def _is_still(folder: int, name: str, file: int, sha256: str) -> bool:
    """Whether the name leads to this very file, with these bytes, and no program has it open for writing."""
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    is_same = os.path.samestat(there, os.fstat(file))
    return is_same and not is_held_by_writer(file) and sha256_of(file) == sha256
