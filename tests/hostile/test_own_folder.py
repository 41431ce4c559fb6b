"""Promises about `.captiond/`: it is the daemon's own, or the daemon does not work."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_world import World

from captiond.delivery.retry import put_back
from captiond.errors import CannotStart, Surroundings
from captiond.inbox import root as inbox_root
from captiond.support import own

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
NAMES = ("inbox", "done", "failed")
SOMEBODY = 12345


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """What is private is so by its mode, and not by luck."""
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_for_the_daemon_alone(tmp_path: Path, name: str) -> None:
    """Whatever the umask, nobody else may look into it; files in it get the group of their folder."""
    world = World.at(tmp_path)
    folder = getattr(world, name)
    folder.chmod(0o2775)
    with world.opened():
        status = (folder / ".captiond").stat()
        assert stat.S_IMODE(status.st_mode) == 0o2700
        assert status.st_gid == folder.stat().st_gid


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0o770, 0o2775, 0o702, 0o777])
def test_a_start_is_refused_if_others_may_write_there(tmp_path: Path, name: str, mode: int) -> None:
    """And the command that mends it is told."""
    world = World.at(tmp_path)
    folder = getattr(world, name) / ".captiond"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(CannotStart) as refused, world.opened():
        pass
    assert refused.value.advice is not None
    assert f"chmod 700 {folder}" in refused.value.advice
    folder.chmod(0o700)
    with world.opened():
        pass


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_a_folder_that_others_only_read_is_closed(tmp_path: Path, mode: int) -> None:
    """Nobody could have written there, so nobody need be asked."""
    world = World.at(tmp_path)
    folder = world.done / ".captiond"
    folder.mkdir()
    folder.chmod(mode)
    with world.opened():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@ROOT
@pytest.mark.parametrize("name", NAMES)
def test_a_start_is_refused_if_it_is_somebody_elses(tmp_path: Path, name: str) -> None:
    """Also root's: who owns a folder may open it to anybody."""
    world = World.at(tmp_path)
    folder = getattr(world, name) / ".captiond"
    folder.mkdir(mode=0o700)
    os.chown(folder, SOMEBODY, -1)
    with pytest.raises(CannotStart, match=str(SOMEBODY)) as refused, world.opened():
        pass
    assert "chown -R" in (refused.value.advice or "")


@ROOT
@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_one_in_its_place_pauses(tmp_path: Path, name: str) -> None:
    """Whoever renames it away and lays another there is not obeyed; putting it back ends the pause."""
    world = World.at(tmp_path)
    folder = getattr(world, name)
    with world.opened() as delivery:
        (folder / ".captiond").rename(folder / "away")
        (folder / ".captiond").mkdir()
        os.chown(folder / ".captiond", SOMEBODY, SOMEBODY)
        with pytest.raises(Surroundings, match=str(SOMEBODY)):
            world.caption(delivery, world.drop("photo.jpg"))
            world.reject(delivery, world.drop("photo.jpg"))
        shutil.rmtree(folder / ".captiond")
        (folder / "away").rename(folder / ".captiond")
        world.caption(delivery, world.settled("photo.jpg"))
    world.check_quiet()


@pytest.mark.parametrize("name", ["inbox", "done"])
def test_one_that_is_opened_to_others_while_it_runs_pauses(tmp_path: Path, name: str) -> None:
    """It is looked at again for each picture."""
    world = World.at(tmp_path)
    folder = getattr(world, name) / ".captiond"
    with world.opened() as delivery:
        folder.chmod(0o770)
        with pytest.raises(Surroundings, match="others may write"):
            world.caption(delivery, world.drop("photo.jpg"))
        folder.chmod(0o700)
        world.caption(delivery, world.settled("photo.jpg"))
    world.check_quiet()


@pytest.mark.parametrize("mode", [0o2772, 0o777, pytest.param(0o2770, marks=ROOT)])
def test_a_folder_from_which_it_can_be_renamed_is_told_once(tmp_path: Path, mode: int) -> None:
    """With the command that helps; where the sticky bit is set, or nobody else may write, nothing is said."""
    world = World.at(tmp_path)
    if mode == 0o2770:
        os.chown(world.inbox, -1, SOMEBODY)
    world.inbox.chmod(mode)
    with world.opened() as delivery:
        (notice,) = delivery.take_notices()
        assert f"chmod +t {world.inbox}" in notice.message
        assert delivery.take_notices() == ()
    for harmless in (mode | stat.S_ISVTX, 0o2755):
        world.inbox.chmod(harmless)
        with world.opened() as delivery:
            assert delivery.take_notices() == ()


def test_a_state_folder_that_is_open_to_others_is_told(tmp_path: Path) -> None:
    """Attempts and history lie there."""
    world = World.at(tmp_path)
    world.state.chmod(0o777)
    with world.opened() as delivery:
        (notice,) = delivery.take_notices()
    assert f"chmod go-w {world.state}" in notice.message


def test_a_file_system_without_permissions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What vfat and most shares say: whatever is made belongs to everybody, and nothing changes that."""
    real = os.fstat

    def without_modes(file: int) -> os.stat_result:
        status = real(file)
        inside = str(Path(f"/proc/self/fd/{file}").readlink()).startswith(str(tmp_path))
        return os.stat_result((status.st_mode | 0o777, *status[1:10])) if inside else status

    world = World.at(tmp_path)
    root = os.open(world.inbox, os.O_RDONLY)
    monkeypatch.setattr(os, "fstat", without_modes)
    opened = own.enter(root, world.inbox)
    assert not opened.is_private
    (notice,) = own.notices(world.inbox, root, opened)
    assert "people whom you trust" in notice.message
    assert os.listdir(world.inbox / ".captiond") == []


def test_the_inbox_puts_its_marker_into_no_other(tmp_path: Path) -> None:
    """The marker decides whether a folder is the inbox."""
    (tmp_path / ".captiond").mkdir()
    (tmp_path / ".captiond").chmod(0o777)
    root = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(Surroundings, match="others may write"):
        inbox_root.write_marker(tmp_path, root)


@pytest.mark.parametrize("name", ["inbox", "failed"])
def test_a_retry_looks_at_it_too(tmp_path: Path, name: str) -> None:
    """As the daemon does, and as root."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("photo.jpg"))
    (getattr(world, name) / ".captiond").chmod(0o777)
    with pytest.raises(Surroundings, match="others may write"):
        put_back("photo.jpg", inbox=world.inbox, failed=world.failed)
    assert (world.failed / "photo.jpg").exists()


@ROOT
def test_roots_retry_leaves_all_to_the_folders_owner(tmp_path: Path) -> None:
    """What root makes beside a daemon that is not root, the daemon can go on with."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("trip/photo.jpg"))
    shutil.rmtree(world.inbox / "trip")
    for path in (*tmp_path.rglob("*"), tmp_path):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    put_back("trip/photo.jpg", inbox=world.inbox, failed=world.failed)
    owners = {str(path): path.lstat().st_uid for path in tmp_path.rglob("*")}
    assert set(owners.values()) == {SOMEBODY}, owners


@ROOT
def test_roots_retry_obeys_nobody_elses(tmp_path: Path) -> None:
    """Neither the daemon's nor the folder's owner's: such traces are somebody's who wants root to act."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("photo.jpg"))
    os.chown(world.failed / ".captiond", SOMEBODY, -1)
    with pytest.raises(Surroundings, match=str(SOMEBODY)):
        put_back("photo.jpg", inbox=world.inbox, failed=world.failed)


@ROOT
def test_a_daemon_without_roots_rights_is_held_to_the_same(tmp_path: Path) -> None:
    """As any user: its own folder is taken, a neighbour's is not."""
    world = World.at(tmp_path)
    for folder in (tmp_path, *tmp_path.iterdir()):
        os.chown(folder, SOMEBODY, SOMEBODY)
        folder.chmod(0o2770)
    code = (
        "import os, sys; from pathlib import Path; from delivery_world import World\n"
        "world = World.at(Path(sys.argv[1]))\n"
        "with world.opened() as delivery: world.caption(delivery, world.drop(sys.argv[2]))\n"
    )

    def run(user: int, name: str) -> subprocess.CompletedProcess[str]:
        who = ["setpriv", f"--reuid={user}", f"--regid={SOMEBODY}", "--clear-groups"]
        return subprocess.run(
            [*who, sys.executable, "-c", code, str(tmp_path), name],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
        )

    assert run(SOMEBODY, "a.jpg").returncode == 0
    assert (world.done / "a.jpg").exists()
    assert "CannotStart" in run(SOMEBODY + 1, "b.jpg").stderr
    assert not (world.done / "b.jpg").exists()
