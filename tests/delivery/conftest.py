"""Deliveries wait for the disk a dozen times each; most promises can be kept in memory as well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the ordinary place for temporary files."""
    return tmp_path_factory.mktemp("disk")


@pytest.fixture
def tmp_path(disk: Path) -> Iterator[Path]:
    """A folder in memory, where there is such a place."""
    if not os.access(MEMORY, os.W_OK):
        yield disk
        return
    with TemporaryDirectory(dir=MEMORY, prefix="captiond-test-") as folder:
        yield Path(folder)


@pytest.fixture
def other_file_system(tmp_path: Path, disk: Path) -> Path:
    if tmp_path.stat().st_dev == disk.stat().st_dev:
        pytest.skip("/dev/shm is not a second file system that we may write to")
    return disk
