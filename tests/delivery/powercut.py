"""Cuts the power at every step of a delivery, in every way a file system may have kept what was not synced.

A real delivery runs with the system calls of `os` watched.  From that log the states are built that a disk
may show after a power cut: a name that was made, moved or removed is certain once its folder was synced;
until then each such change may have come to the disk or not, on its own.  Of a move both halves come, or the
new name alone, or none.  A file that was not synced is torn.  In each state recovery runs for real.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from delivery_world import World, users_files

from captiond.delivery import moves
from torture import MEMORY, PATH, REVISIONS, Scenario, Score, judge, lay_out, revision

MODIFIED_NS = 1_700_000_000_123_456_789
MOST_STATES_AT_ONE_STEP = 40  # of more than these, a drawn sample


@dataclass(frozen=True)
class Change:
    """One name in one folder: made (with a file or a folder behind it) or removed."""

    folder: str
    name: str
    node: int | None  # None: removed
    needs: int | None = None  # the change without which this one cannot be: the other half of a move


@dataclass
class Disk:
    """What was changed so far, and what of it is certain."""

    root: str
    given: tuple[tuple[str, str], ...] = ()  # the files that lay there before, numbered from -1 downwards
    names: dict[tuple[str, str], int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    certain: set[int] = field(default_factory=set)
    content: dict[int, bytes] = field(default_factory=dict)  # of files made meanwhile
    synced: dict[int, bytes] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    opened: dict[int, int] = field(default_factory=dict)  # descriptor -> node

    def __post_init__(self) -> None:
        for number, (folder, name) in enumerate(self.given, 1):
            self.names[folder, name] = -number
            self.synced[-number] = Path(self.root, folder, name).read_bytes()

    def folder_of(self, descriptor: int) -> str | None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else None

    def make(self, folder: str, name: str, node: int) -> int:
        self.changes.append(Change(folder, name, node))
        self.names[folder, name] = node
        return len(self.changes) - 1

    def remove(self, folder: str, name: str, needs: int | None = None) -> None:
        self.changes.append(Change(folder, name, None, needs))
        self.names.pop((folder, name), None)

    def move(self, source: int, name: str, target: int, new_name: str) -> None:
        old, new = self.folder_of(source), self.folder_of(target)
        if old is None or new is None:
            return
        made = self.make(new, new_name, self.names[old, name])
        self.remove(old, name, needs=made)

    def exchange(self, source: int, name: str, target: int, other: str) -> None:
        """Both or none."""
        one, two = self.folder_of(source), self.folder_of(target)
        assert one is not None
        assert two is not None
        nodes = self.names[one, name], self.names[two, other]
        number = len(self.changes)
        self.changes += [
            Change(one, name, nodes[1], needs=number + 1),
            Change(two, other, nodes[0], needs=number),
        ]
        self.names[one, name], self.names[two, other] = nodes[1], nodes[0]

    def sync(self, descriptor: int) -> None:
        node = self.opened.get(descriptor)
        if node is not None:
            self.synced[node] = self.content[node]
            return
        folder = self.folder_of(descriptor)
        for number, change in enumerate(self.changes):
            if change.folder == folder:
                self.certain |= {number} if change.needs is None else {number, change.needs}

    def moment(self) -> Moment:
        return Moment(
            tuple(self.changes),
            frozenset(self.certain),
            dict(self.synced),
            dict(self.content),
            frozenset(self.folders),
            self.given,
        )


@contextmanager
def watched(disk: Disk, step: Any) -> Iterator[None]:
    """Log what `os` changes beneath the disk's root; `step` is called before each change."""
    real = {
        name: getattr(os, name)
        for name in ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "close")
    }
    renameat2 = moves._renameat2

    def open_(name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        is_new = bool(flags & os.O_EXCL)
        if is_new:
            step()
        descriptor: int = real["open"](name, flags, mode, dir_fd=dir_fd)
        if is_new and dir_fd is not None:
            folder = disk.folder_of(dir_fd)
            assert folder is not None
            node = len(disk.content) + 1000
            disk.content[node] = b""
            disk.make(folder, name, node)
            disk.opened[descriptor] = node
        return descriptor

    def close(descriptor: int) -> None:
        disk.opened.pop(descriptor, None)
        real["close"](descriptor)

    def write(descriptor: int, data: bytes) -> int:
        step()
        written: int = real["write"](descriptor, data)
        if descriptor in disk.opened:
            disk.content[disk.opened[descriptor]] += bytes(data[:written])
        return written

    def fsync(descriptor: int) -> None:
        step()
        real["fsync"](descriptor)
        disk.sync(descriptor)

    def rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        step()
        real["rename"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        disk.move(src_dir_fd, old, dst_dir_fd, new)

    def flagged(source: int, old: bytes, target: int, new: bytes, flag: int) -> int:
        step()
        answer = renameat2(source, old, target, new, flag)
        if answer == 0:
            act = disk.exchange if flag == moves._RENAME_EXCHANGE else disk.move
            act(source, os.fsdecode(old), target, os.fsdecode(new))
        return answer

    def link(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        step()
        real["link"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        source, target = disk.folder_of(src_dir_fd), disk.folder_of(dst_dir_fd)
        assert source is not None
        assert target is not None
        disk.make(target, new, disk.names[source, old])

    def unlink(name: str, *, dir_fd: int) -> None:
        step()
        real["unlink"](name, dir_fd=dir_fd)
        folder = disk.folder_of(dir_fd)
        assert folder is not None
        disk.remove(folder, name)

    def mkdir(name: str, mode: int = 0o777, *, dir_fd: int) -> None:
        step()
        real["mkdir"](name, mode, dir_fd=dir_fd)
        folder = disk.folder_of(dir_fd)
        assert folder is not None
        node = len(disk.folders) + 1
        disk.folders.add(node)
        disk.make(folder, name, node)

    fakes: dict[str, Any] = {"open": open_, "close": close, "write": write, "fsync": fsync, "rename": rename}
    fakes |= {"link": link, "unlink": unlink, "mkdir": mkdir}
    with (
        patch.multiple(os, **fakes),
        patch.object(moves, "_renameat2", flagged),
    ):
        yield


@dataclass(frozen=True)
class Moment:
    """The disk at one step: the changes by then, those that are certain, and what was synced."""

    changes: tuple[Change, ...]
    certain: frozenset[int]
    synced: dict[int, bytes]
    content: dict[int, bytes]
    folders: frozenset[int]
    given: tuple[tuple[str, str], ...]

    def states(self) -> Iterator[frozenset[int]]:
        """Which changes may have come to the disk, if the power is cut now."""
        doubtful = [number for number in range(len(self.changes)) if number not in self.certain]
        ways = list(itertools.product((False, True), repeat=len(doubtful)))
        if len(ways) > MOST_STATES_AT_ONE_STEP:
            drawn = random.Random(len(self.changes)).sample(ways[1:-1], MOST_STATES_AT_ONE_STEP - 2)
            ways = [ways[0], ways[-1], *drawn]
        for way in ways:
            kept = self.certain | {number for number, is_kept in zip(doubtful, way, strict=True) if is_kept}
            if all(self.changes[number].needs in {None, *kept} for number in kept):
                yield kept

    def build(self, kept: frozenset[int], before: World, root: Path, *, is_torn: bool) -> World:
        """The folders as the disk may show them."""
        names = {place: -number for number, place in enumerate(self.given, 1)}
        for number in sorted(kept):
            change = self.changes[number]
            if change.node is None:
                names.pop((change.folder, change.name), None)
            else:
                names[change.folder, change.name] = change.node
        shutil.copytree(before.inbox.parent, root, symlinks=True)
        world = _moved(before, root)
        world.state.mkdir(exist_ok=True)
        for (folder, name), node in sorted(names.items()):
            if node in self.folders:
                (root / folder / name).mkdir(parents=True, exist_ok=True)
        made: dict[int, Path] = {}
        for (folder, name), node in names.items():
            file = root / folder / name
            if node in self.folders or not file.parent.exists():
                continue
            if node in made:
                file.hardlink_to(made[node])
                continue
            data = self.synced.get(node)
            if data is None:
                data = self.content[node]
                data = data[: len(data) // 2] if is_torn else data
            file.write_bytes(data)
            made[node] = file
            if node < 0:
                os.utime(file, ns=(MODIFIED_NS, MODIFIED_NS))
        return world


def cut_everywhere(scenario: Scenario, *, every: int = 1) -> Score:
    """Every state at every step; `every` takes a sample of the steps."""
    score = Score()
    with TemporaryDirectory(prefix="captiond-powercut-", dir=MEMORY) as folder:
        bare, moments = _watched_delivery(Path(folder), scenario)
        for number, moment in list(enumerate(moments))[::every]:
            for is_torn in (True, False):
                for kept in moment.states():
                    root = Path(folder) / "cut"
                    world = moment.build(kept, bare, root, is_torn=is_torn)
                    lost = sorted(set(range(len(moment.changes))) - kept)
                    judge(score, world, scenario, f"cut at step {number} without {lost}, torn: {is_torn}")
                    shutil.rmtree(root)
    return score


def _watched_delivery(folder: Path, scenario: Scenario) -> tuple[World, list[Moment]]:
    """Deliver once; the folders as they were before, without the original, and every moment of it."""
    world = lay_out(folder / "before", scenario)
    given = [world.inbox / path for path in (PATH, *world.beside)]
    if scenario.revises:
        given = []
    if scenario.revises or scenario.sends_again:
        given += [world.done / path for path in users_files(world.done)]
    for file in given:
        os.utime(file, ns=(MODIFIED_NS, MODIFIED_NS))
    root = world.inbox.parent.resolve()
    places = [file.resolve().relative_to(root) for file in given]
    moments: list[Moment] = []
    disk = Disk(str(root), tuple((str(place.parent), place.name) for place in places))
    with world.opened(**scenario.rules()) as delivery:
        act: Callable[[], object]
        if scenario.act == "publish":
            act = partial(world.publish, delivery, world.claim(delivery, world.settled(PATH)))
        elif scenario.act == "duplicate":
            act = partial(delivery.claim, world.settled(PATH))
        elif scenario.act in REVISIONS:
            act = revision(delivery, scenario.act)
        else:
            act = partial(world.reject, delivery, world.settled(PATH))
        shutil.copytree(root, folder / "bare", ignore=shutil.ignore_patterns("state"))
        for place in places:
            (folder / "bare" / place).unlink()
        with watched(disk, lambda: moments.append(disk.moment())):
            act()
    moments.append(disk.moment())
    return replace(_moved(world, folder / "bare"), asked=0, embedded=0), moments


def _moved(world: World, root: Path) -> World:
    """The same, with its folders in another."""
    return replace(
        world, inbox=root / "inbox", done=root / "done", failed=root / "failed", state=root / "state"
    )
