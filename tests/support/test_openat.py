"""Nothing outside a folder is ever opened through it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from captiond.support import openat


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root" / "trip").mkdir(parents=True)
    (tmp_path / "root" / "trip" / "photo.jpg").write_bytes(b"mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "photo.jpg").write_bytes(b"somebody else's")
    descriptor = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def _the_long_way(root: int, path: str) -> int:
    with openat.folder_of(root, path) as (folder, name):
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


WAYS = pytest.mark.parametrize("open_file", [openat.open_file, _the_long_way])


@WAYS
def test_a_file_beneath_is_opened(root: int, open_file: Callable[[int, str], int]) -> None:
    """A path of several parts leads to its file, by the kernel's walk and by ours."""
    descriptor = open_file(root, "trip/photo.jpg")
    assert os.read(descriptor, 100) == b"mine"
    os.close(descriptor)


@WAYS
@pytest.mark.parametrize("path", ["link.jpg", "folder/photo.jpg"])
def test_links_are_not_followed(
    root: int, tmp_path: Path, path: str, open_file: Callable[[int, str], int]
) -> None:
    """Neither a link to a file nor a link to a folder leads anywhere, wherever it points."""
    (tmp_path / "root" / "link.jpg").symlink_to("trip/photo.jpg")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError) as refusal:
        open_file(root, path)
    assert refusal.value.errno in {errno.ELOOP, errno.ENOTDIR}


@WAYS
@pytest.mark.parametrize("path", ["../outside/photo.jpg", "trip/../trip/photo.jpg", "./trip/photo.jpg"])
def test_paths_that_climb_are_refused(root: int, path: str, open_file: Callable[[int, str], int]) -> None:
    """A path with dots in it is no path of ours."""
    with pytest.raises(ValueError, match="not a path beneath"):
        open_file(root, path)


def test_an_absolute_path_is_refused(root: int, tmp_path: Path) -> None:
    """A path from the root of the file system is not beneath anything."""
    with pytest.raises(ValueError, match="not a path beneath"):
        openat.open_file(root, str(tmp_path / "outside" / "photo.jpg"))


def test_names_of_any_bytes_are_opened(root: int, tmp_path: Path) -> None:
    """Names that are not UTF-8, and those with line breaks, are names like others."""
    for name in (os.fsdecode(b"caf\xe9.jpg"), "two\nlines.jpg", "x" * 251 + ".jpg"):
        (tmp_path / "root" / name).write_bytes(b"odd")
        descriptor = openat.open_file(root, name)
        assert os.read(descriptor, 10) == b"odd"
        os.close(descriptor)


def test_a_missing_file_is_told_as_such(root: int) -> None:
    """What is not there raises FileNotFoundError with the path."""
    with pytest.raises(FileNotFoundError) as missing:
        openat.open_file(root, "trip/none.jpg")
    assert missing.value.filename


def test_a_fifo_does_not_block(root: int, tmp_path: Path) -> None:
    """A FIFO opens at once, without a writer, so that the caller can look at it and leave it alone."""
    os.mkfifo(tmp_path / "root" / "fifo.jpg")
    os.close(openat.open_file(root, "fifo.jpg"))
