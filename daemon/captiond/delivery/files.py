"""Files and folders by descriptor: written whole and durably, read without following links or blocking."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from captiond.errors import NotThere
from captiond.sidecar.decode import MOST_BYTES
from captiond.support.openat import FILE, FOLDER, NEW, open_file, sync_folder

Seen = TypeVar("Seen")

# What `open` answers if no regular file has the name: nothing there, a link, a socket, or a file on the way.
NO_FILE = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}

TIME_GRAIN_NS = 2_000_000_000  # FAT rounds times to two seconds

_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_CHUNK_BYTES)

Give = Callable[[int], None]


def _nothing(_: object) -> None:
    pass


def write(folder: int, name: str, chunks: Iterable[bytes], give: Give = _nothing) -> None:
    """Write a whole file durably, or nothing under that name; the caller syncs the folder.

    `give` sets attributes of the open file before it is synced.
    """

    def fill(file: int) -> int:
        expected = 0
        for chunk in chunks:
            expected += len(chunk)
            _write_all(file, chunk)
        return expected

    _write_durably(folder, name, fill, give)


def copy(source: int, folder: int, name: str, give: Give, look: Callable[[bytes], object] = _nothing) -> None:
    """Copy an open file durably, at the length it has now, or nothing; its holes stay holes.

    `look` is shown all of its bytes in their order.
    """

    def fill(file: int) -> int:
        size, offset = os.fstat(source).st_size, 0
        for start, end in _extents(source, size):
            _look_at_hole(look, start - offset)
            if start != offset:
                os.lseek(file, start, os.SEEK_SET)
            offset = start
            while offset < end and (chunk := os.pread(source, min(_CHUNK_BYTES, end - offset), offset)):
                look(chunk)
                _write_all(file, chunk)
                offset += len(chunk)
        if offset < size:
            _look_at_hole(look, size - offset)
            os.ftruncate(file, size)
        return size

    _write_durably(folder, name, fill, give)


def allocated(file: int) -> int:
    """The bytes that an open file takes on the disk, without its holes."""
    status = os.fstat(file)
    return min(status.st_size, status.st_blocks * 512)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where an open file holds data, from its start to its end; all of it if the file system cannot tell."""
    if os.fstat(file).st_blocks * 512 >= size:
        yield 0, size
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = min(size, os.lseek(file, start, os.SEEK_HOLE))
        except OSError as error:
            if error.errno != errno.ENXIO:  # this file system does not tell holes
                yield end, size
            return
        if start < end:
            yield start, end


def _look_at_hole(look: Callable[[bytes], object], length: int) -> None:
    if look is _nothing:
        return
    while length > 0:
        look(_ZEROS if length >= _CHUNK_BYTES else bytes(length))
        length -= _CHUNK_BYTES


def _write_all(file: int, chunk: bytes | memoryview) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(file, rest) :]


def _write_durably(folder: int, name: str, fill: Callable[[int], int], give: Give) -> None:
    new = f"{name}.new"
    with ExitStack() as undo:
        file = _open_anew(folder, new)
        undo.callback(remove, folder, new)  # it may be what fills the disk
        try:
            expected = fill(file)
            give(file)
            os.fsync(file)
            if os.fstat(file).st_size != expected:
                raise OSError(errno.EIO, "the file has another length than what was written", name)
        finally:
            os.close(file)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        undo.pop_all()


def _open_anew(folder: int, name: str) -> int:
    try:
        return os.open(name, NEW, 0o600, dir_fd=folder)
    except FileExistsError:  # a crash left one half written
        os.unlink(name, dir_fd=folder)
        return os.open(name, NEW, 0o600, dir_fd=folder)


def read(folder: int, name: str) -> bytes | None:
    """All of a record or a trace; None if there is none.  Raises: ValueError, if it is larger than any."""
    return of_regular(folder, name, _little)


def _little(file: int) -> bytes:
    size = os.fstat(file).st_size
    data = contents(file, size) if size <= MOST_BYTES else b""
    if len(data) != size:
        raise ValueError("too large for a record, or it grows")
    return data


def chunks(file: int) -> Iterator[bytes]:
    """The bytes of an open file from its start, a piece at a time."""
    offset = 0
    while chunk := os.pread(file, _CHUNK_BYTES, offset):
        yield chunk
        offset += len(chunk)


def contents(file: int, size: int) -> bytes:
    """All bytes of an open file that had `size` of them a moment ago, and one more if it has grown."""
    data = os.pread(file, size + 1, 0)
    while len(data) < size and (more := os.pread(file, size + 1 - len(data), len(data))):
        data += more  # a read stops short at 2 GiB, and on some network file systems wherever it likes
    return data


def sha256_of(file: int) -> str:
    digest = hashlib.sha256()
    for chunk in chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_at(folder: int, name: str) -> str | None:
    """The checksum of a regular file; None if the name is free or means something else."""
    return of_regular(folder, name, sha256_of)


def of_regular(folder: int, name: str, look: Callable[[int], Seen]) -> Seen | None:
    """What `look` makes of the opened file; None if the name is free or means something else."""
    try:
        file = os.open(name, FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise
    try:
        return look(file) if is_regular(file) else None
    finally:
        os.close(file)


@contextmanager
def opened_regular(root: int, path: str) -> Iterator[int]:
    """A regular file beneath `root`, open for reading.  Raises: NotThere, if there is none; OSError."""
    with known(path):
        file = open_file(root, path)
    try:
        if not is_regular(file):
            raise NotThere
        yield file
    finally:
        os.close(file)


def is_regular(file: int) -> bool:
    return stat.S_ISREG(os.fstat(file).st_mode)


def status_of(folder: int, name: str) -> os.stat_result | None:
    """The status of what has the name, without following a link; None if nothing has it."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def must_be_files(folder: int, names: Iterable[str]) -> None:
    """Raises: ValueError, if one of the names is a link, a folder or anything else than a regular file."""
    for name in names:
        there = status_of(folder, name)
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise ValueError(f"{name} is no regular file")


def exists(folder: int, name: str) -> bool:
    return status_of(folder, name) is not None


def names_in(folder: int) -> list[str]:
    # By a descriptor of our own: a listing moves a position that all duplicates of a descriptor share.
    own = os.open(".", FOLDER, dir_fd=folder)
    try:
        return sorted(os.listdir(own))
    finally:
        os.close(own)


def remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def enter(parent: int, name: str, mode: int = 0o777) -> int:
    """A descriptor of the folder `name`, made durably if it is missing.

    If root makes it, it belongs to the owner of its parent: the daemon that uses it may not be root.
    """
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return os.open(name, FOLDER, dir_fd=parent)  # another thread was faster
    made = os.open(name, FOLDER, dir_fd=parent)
    with ExitStack() as undo:
        undo.callback(os.close, made)
        give_to_owner_of(parent, made)
        sync_folder(parent)
        undo.pop_all()
    return made


def give_to_owner_of(folder: int, made: int) -> None:
    """If root made a file in another user's folder, give it to that user."""
    if os.geteuid() == 0:
        owner = os.fstat(folder).st_uid
        with suppress(OSError):
            os.fchown(made, owner, -1)


@contextmanager
def known(path: str) -> Iterator[None]:
    """Raises: NotThere, if there is no such file, or it cannot be understood (ValueError)."""
    try:
        yield
    except ValueError as error:
        raise NotThere from error
    except OSError as error:
        if error.errno in NO_FILE:
            raise NotThere from error
        raise
