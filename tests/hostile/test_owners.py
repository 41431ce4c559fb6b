"""Promises about whose a delivered file is: who could read or write before can do so after, and nobody gains.

As root, with a daemon of another user in a process of its own: that is what a service is.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from delivery_world import World

from captiond.delivery import access
from captiond.delivery.access import Access

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")

DAEMON, ALICE, BOB, EVE = 12345, 1001, 1002, 1003
DAEMONS, FRIENDS = 12345, 2001
PEOPLE = {
    "the daemon": (DAEMON, (DAEMONS,)),
    "Alice": (ALICE, (3001,)),
    "Alice in the daemon's group": (ALICE, (3001, DAEMONS)),
    "Bob, a friend": (BOB, (3002, FRIENDS)),
    "Bob in the daemon's group": (BOB, (3002, DAEMONS)),
    "Bob in both": (BOB, (3002, FRIENDS, DAEMONS)),
    "Eve": (EVE, (3003,)),
}
_RIGHTS = (("r", os.R_OK), ("w", os.W_OK))
MODES = [0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o604, 0o400, 0o444, 0o460, 0o606, 0o620]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Folders of a service: the daemon's, and open to its group."""
    umask = os.umask(0o007)
    world = World.at(tmp_path)
    tmp_path.chmod(0o755)
    for folder in tmp_path.iterdir():
        os.chown(folder, DAEMON, DAEMONS)
        folder.chmod(0o2775)
    yield world
    os.umask(umask)


def serve(world: World, act: str) -> None:
    """What lies in the inbox, by a daemon that is not root."""
    code = (
        "import os, sys; from pathlib import Path; from delivery_world import World, users_files\n"
        "os.umask(0o007)\n"
        "world = World.at(Path(sys.argv[1]))\n"
        "with world.opened(takes_text=True) as delivery:\n"
        "    for path in users_files(world.inbox):\n"
        "        if path.endswith('.jpg'): getattr(world, sys.argv[2])(delivery, world.settled(path))\n"
    )
    ended = subprocess.run(
        ["setpriv", f"--reuid={DAEMON}", f"--regid={DAEMONS}", "--clear-groups", sys.executable, "-c", code,
         str(world.inbox.parent), act],
        capture_output=True, text=True, check=False, cwd="/",
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def rights(*files: Path) -> list[dict[str, str]]:
    """What each of the people may do with each file, as the kernel says."""
    answers: list[dict[str, str]] = [{} for _ in files]
    for who, (user, groups) in PEOPLE.items():
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups(groups)
                os.setresgid(groups[0], groups[0], groups[0])
                os.setresuid(user, user, user)
                for file in files:
                    may = [letter for letter, mode in _RIGHTS if os.access(file, mode)]
                    os.write(writer, "".join(may).encode() + b"\n")
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="ascii") as told:
            for answer, told_may in zip(answers, told.read().split("\n"), strict=False):
                answer[who] = told_may
        os.waitpid(child, 0)
    return answers


def drop(world: World, path: str, owner: int, group: int, mode: int) -> dict[str, str]:
    """What everybody may do with it, dropped so."""
    world.drop(path)
    file = world.inbox / path
    os.chown(file, owner, group)
    file.chmod(mode)
    return rights(file)[0]


def compare(before: dict[str, str], *files: Path, may_lose: bool = False) -> None:
    for file, after in zip(files, rights(*files), strict=True):
        for who, may in before.items():
            if who == "the daemon":
                continue  # who owns a file may do anything with it
            told = f"{file.name}: {who} had {may!r} and has {after[who]!r}"
            assert set(after[who]) <= set(may), told
            assert may_lose or set(after[who]) == set(may), told


@pytest.mark.parametrize("group", [DAEMONS, FRIENDS])
def test_who_could_write_before_can_write_after(world: World, group: int) -> None:
    """For each mode that lets the daemon read: image, sidecar, and what came along, to the last right.

    But where a group has less than all others, no ACL can say the same of who is in two groups: they lose.
    """
    readable = [mode for mode in MODES if mode & (0o040 if group == DAEMONS else 0o004)]
    before = {mode: drop(world, f"{mode:o}.jpg", ALICE, group, mode) for mode in readable}
    for mode in readable:
        (world.inbox / f"{mode:o}.mov").write_bytes(b"a film")
        os.chown(world.inbox / f"{mode:o}.mov", ALICE, group)
        (world.inbox / f"{mode:o}.mov").chmod(mode)
    serve(world, "caption")
    for mode, may in before.items():
        files = [world.done / f"{mode:o}{end}" for end in (".jpg", ".mov", ".jpg.caption.json")]
        compare(may, *files, may_lose=bool(mode & ~(mode >> 3) & 7))
        assert (world.done / f"{mode:o}.jpg").stat().st_uid == DAEMON


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not installed")
def test_a_copy_by_a_member_of_the_group(world: World) -> None:
    """What a service meets daily: umask 022, a setgid inbox, a default ACL that shuts out others."""
    subprocess.run(
        ["setfacl", "-m", "d:u::rwx,d:g::rwx,d:o::---", str(world.inbox)], check=False, capture_output=True
    )
    before = drop(world, "two.jpg", ALICE, DAEMONS, 0o640)
    assert before["Alice"] == "rw"
    serve(world, "caption")
    compare(before, world.done / "two.jpg", world.done / "two.jpg.caption.json")


def test_what_fails_keeps_its_owner(world: World) -> None:
    """A rename changes nothing of it, and its error can be read by whom it concerns."""
    before = drop(world, "a.jpg", ALICE, DAEMONS, 0o640)
    serve(world, "reject")
    assert (world.failed / "a.jpg").stat().st_uid == ALICE
    compare(before, world.failed / "a.jpg", world.failed / "a.jpg.error.json")


def test_an_acl_that_was_there_is_kept_and_extended(world: World) -> None:
    """Named users keep what they had, and no more, whatever the new names need."""
    drop(world, "a.jpg", ALICE, DAEMONS, 0o640)
    file = world.inbox / "a.jpg"
    theirs = Access(6, 4, 0, users=((BOB, 4),), groups=((FRIENDS, 6),))
    try:
        os.setxattr(file, access.ATTRIBUTE, theirs.encoded())
    except OSError:
        pytest.skip("no ACLs here")
    (before,) = rights(file)
    assert before["Bob in the daemon's group"] == "r"
    serve(world, "caption")
    compare(before, world.done / "a.jpg", world.done / "a.jpg.caption.json")


def test_where_there_are_no_acls_nobody_gains(world: World, tmp_path: Path) -> None:
    """The former owner may lose, which is told at the start; nobody gets what they did not have."""
    from faults.tools import cannot_mount

    if (reason := cannot_mount()) is not None:
        pytest.skip(reason)
    mounted = subprocess.run(
        ["mount", "-t", "ramfs", "captiond-test", str(world.done)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system without ACLs")
    try:
        os.chown(world.done, DAEMON, DAEMONS)
        world.done.chmod(0o2775)
        with pytest.raises(OSError):
            os.getxattr(world.done, access.ATTRIBUTE)
        before = {
            mode: drop(world, f"{mode:o}.jpg", ALICE, group, mode)
            for mode, group in ((0o644, FRIENDS), (0o664, FRIENDS), (0o640, DAEMONS), (0o606, FRIENDS))
        }
        serve(world, "caption")
        for mode, may in before.items():
            files = [world.done / f"{mode:o}{end}" for end in (".jpg", ".jpg.caption.json")]
            compare(may, *files, may_lose=True)
    finally:
        subprocess.run(["umount", "--lazy", str(world.done)], check=True)


def test_no_right_is_gained_by_any_mode() -> None:
    """Of all 512, with the owner, the group or both lost: the ACL says the same as the mode did."""
    for mode, (owner, group) in product(range(0o1000), ((1, None), (None, 2), (1, 2))):
        before = access.of_mode(mode)
        after = before.handed_over(owner, group)
        assert after.other == before.other
        assert dict(after.users).get(1) == (before.owner if owner else None)
        assert dict(after.groups).get(2) == (before.group if group else None)
        assert after.group == (before.other & before.group if group else before.group)
        again = access.of_attribute(after.encoded())
        assert again == after


@pytest.mark.parametrize(
    "data", [b"", b"\x01\0\0\0", b"\2\0\0\0\1", b"\2\0\0\0", b"\2\0\0\0" + bytes(8), bytes(100)]
)
def test_what_is_no_acl_is_none(data: bytes) -> None:
    """The attribute comes from a file that anybody may have made on another system."""
    assert access.of_attribute(data) is None


def test_setuid_is_not_delivered(world: World) -> None:
    """An image needs none of these bits, and its owner becomes another."""
    drop(world, "a.jpg", ALICE, DAEMONS, 0o6775)
    serve(world, "caption")
    assert stat.S_IMODE((world.done / "a.jpg").stat().st_mode) & 0o7000 == 0
