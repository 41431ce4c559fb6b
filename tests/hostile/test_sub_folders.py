"""Promises about names and sub-folders of done/ and failed/ that are not to be had: one picture's trouble."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from delivery_world import World, users_files

from captiond.delivery import moves
from captiond.errors import Surroundings, TryLater
from captiond.names import fitting
from captiond.records import Delivered


def digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("Trip: Rome", "Trip_ Rome~{}"),
        ('a<b>c:d"e\\f|g?h*i', "a_b_c_d_e_f_g_h_i~{}"),
        ("ends with a dot.", "ends with a dot~{}"),
        ("ends with a space ", "ends with a space~{}"),
        ("CON", "CON~{}"),
        ("\udcff\udcfe", "__~{}"),
        ("tab\there", "tab_here~{}"),
    ],
)
def test_a_refused_name_keeps_what_can_be_kept(name: str, instead: str) -> None:
    """And the first digits of its own checksum, so that two names stay two; a file keeps its extension."""
    assert list(fitting(name, is_folder=True))[:2] == [name, instead.format(digest(name))]
    assert list(fitting(f"{name}.jpg"))[1].endswith(f"~{digest(f'{name}.jpg')}.jpg")
    assert all(len(os.fsencode(one)) <= 255 for one in fitting("ü" * 125 + ".jpg"))
    assert list(fitting(name, is_folder=True))[2].isascii()


def refusing(
    monkeypatch: pytest.MonkeyPatch, number: int, *refused: str, mkdir: int | None = None
) -> moves.Move:
    """A file system that knows no such name: to a look there is none, and none can be made."""
    real_mkdir, real_open, real_stat = os.mkdir, os.open, os.stat

    def is_refused(name: object) -> bool:
        return isinstance(name, str) and any(part in name for part in refused)

    def no_mkdir(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and is_refused(name) and _is_in("done", dir_fd):
            raise OSError(mkdir or number, os.strerror(mkdir or number), name)
        real_mkdir(name, mode, dir_fd=dir_fd)

    def no_open(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None and is_refused(name) and _is_in("done", dir_fd):
            code = number if flags & os.O_CREAT else errno.ENOENT
            raise OSError(code, os.strerror(code), name)
        return real_open(name, flags, mode, dir_fd=dir_fd)

    def no_stat(name: object, *, dir_fd: int | None = None, **more: Any) -> os.stat_result:
        # A name that is not UTF-8 is refused by the look already.
        if dir_fd is not None and number == errno.EILSEQ and is_refused(name) and _is_in("done", dir_fd):
            raise OSError(number, os.strerror(number), name)
        return real_stat(name, dir_fd=dir_fd, **more)  # type: ignore[arg-type]

    def no_move(source: int, name: str, target: int, new_name: str) -> None:
        if is_refused(new_name) and _is_in("done", target):
            raise OSError(number, os.strerror(number), new_name)
        moves.move(source, name, target, new_name)

    monkeypatch.setattr(os, "mkdir", no_mkdir)
    monkeypatch.setattr(os, "open", no_open)
    monkeypatch.setattr(os, "stat", no_stat)
    return no_move


def _is_in(name: str, folder: int) -> bool:
    return name in Path(f"/proc/self/fd/{folder}").readlink().parts


@pytest.mark.parametrize(
    ("number", "mkdir"),
    [
        (errno.EINVAL, errno.EINVAL),
        (errno.EILSEQ, errno.EILSEQ),
        (errno.EINVAL, errno.ENOENT),  # as shares of Windows tell it
        (errno.ENOENT, errno.ENOENT),  # and exFAT in user space
        (errno.ENAMETOOLONG, errno.ENAMETOOLONG),
    ],
)
@pytest.mark.parametrize("path", ["Trip: Rome/photo.jpg", "a/Trip: Rome/b: c/photo: 1.jpg"])
def test_a_folder_that_done_cannot_hold_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, mkdir: int, path: str
) -> None:
    """The picture is delivered, its sidecar tells the true path, and the model is asked once for each."""
    world = World.at(tmp_path, move=refusing(monkeypatch, number, ":", mkdir=mkdir))
    with world.opened() as delivery:
        first = world.caption(delivery, world.drop(path))
        second = world.caption(delivery, world.drop("plain/photo.jpg"))
        third = world.caption(delivery, world.drop(path, b"another"))
    assert f"Trip_ Rome~{digest('Trip: Rome')}" in first.path
    assert ":" not in first.path + third.path
    assert second.path == "plain/photo.jpg"
    assert os.path.dirname(third.path) == os.path.dirname(first.path)  # noqa: PTH120
    told = json.loads((world.done / first.record).read_bytes())
    assert told["source"]["path"] == path
    assert world.asked == 3
    del world.dropped[path]
    world.dropped |= {"1": b"a picture", "2": b"another"}
    world.check_quiet()


def test_companions_get_the_replaced_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs together stays together."""
    world = World.at(tmp_path, move=refusing(monkeypatch, errno.EINVAL, ":"))
    world.drop("a: b.jpg")
    world.drop_beside("a: b.xmp", b"<x/>")
    world.drop_beside("a: b.jpg.json", b"{}")
    with world.opened() as delivery:
        world.caption(delivery, world.settled("a: b.jpg"))
    mark = digest("a: b.jpg")
    expected = {f"a_ b~{mark}{end}" for end in (".jpg", ".xmp", ".jpg.json", ".jpg.caption.json")}
    assert set(users_files(world.done)) == expected


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EILSEQ])
def test_what_was_replaced_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The same file sent again is no news, whatever it is called in done/."""
    world = World.at(tmp_path, move=refusing(monkeypatch, number, ":"))
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.drop("Trip: Rome/a: b.jpg"))
        again = delivery.claim(world.drop("Trip: Rome/a: b.jpg"))
        assert isinstance(again, Delivered)
        assert again.is_duplicate
    world.check_quiet()


def closed(number: int, monkeypatch: pytest.MonkeyPatch, *, opening: bool) -> None:
    """done/private and failed/private let nobody in, or nobody put anything in; who runs this may be root."""
    real_open, real_mkdir = os.open, os.mkdir

    def no_open(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None and opening and name == "private" and not _is_in("inbox", dir_fd):
            raise OSError(number, os.strerror(number), name)
        return real_open(name, flags, mode, dir_fd=dir_fd)

    def no_mkdir(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and _is_in("private", dir_fd) and not _is_in("inbox", dir_fd):
            raise OSError(number, os.strerror(number), name)
        real_mkdir(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", no_open)
    monkeypatch.setattr(os, "mkdir", no_mkdir)


def shut(number: int) -> moves.Move:
    def move(source: int, name: str, target: int, new_name: str) -> None:
        if _is_in("private", target) and not _is_in("inbox", target):
            raise OSError(number, os.strerror(number), new_name)
        moves.move(source, name, target, new_name)

    return move


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ESTALE])
@pytest.mark.parametrize("how", ["open", "move"])
@pytest.mark.parametrize("act", ["caption", "reject"])
def test_a_private_sub_folder_stops_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, how: str, act: str
) -> None:
    """It waits, with the caption that was made; others go on; and it is delivered when the folder is open."""
    world = World.at(tmp_path, move=shut(number) if how == "move" else moves.move)
    serve: Callable[..., Delivered] = getattr(world, act)
    for place in (world.done, world.failed):
        (place / "private").mkdir()
    with world.opened() as delivery, monkeypatch.context() as patch:
        if how == "open":
            closed(number, patch, opening=True)
        for _ in range(3):
            with pytest.raises(TryLater) as later:
                serve(delivery, world.drop("private/photo.jpg"))
            assert "private" in later.value.message
            assert delivery.recover() == []
        world.caption(delivery, world.drop("other/photo.jpg"))
        world.reject(delivery, world.drop("other/bad.jpg"))
        assert world.asked == (2 if act == "caption" else 1)
    world.move = moves.move
    with world.opened() as delivery:
        delivery.recover()
        for path in users_files(world.inbox):
            serve(delivery, world.settled(path))
        assert world.asked == (2 if act == "caption" else 1)
    world.check_quiet()


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user")
def test_a_folder_of_mode_700_stops_one_picture(tmp_path: Path) -> None:
    """As it is: somebody else's private folder in done/, and a daemon that is not root."""
    world = World.at(tmp_path)
    for folder in (tmp_path, *tmp_path.iterdir()):
        os.chown(folder, 12345, 12345)
    (world.done / "private").mkdir(mode=0o700)
    code = (
        "import sys; from pathlib import Path; from delivery_world import World\n"
        "from captiond.errors import TryLater\n"
        "world = World.at(Path(sys.argv[1]))\n"
        "with world.opened() as delivery:\n"
        "    for _ in range(2):\n"
        "        try: world.caption(delivery, world.drop('private/a.jpg'))\n"
        "        except TryLater as later: print(later.message, later.advice)\n"
        "    world.caption(delivery, world.drop('b.jpg'))\n"
        "    assert world.asked == 2, world.asked\n"
    )
    who = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    ended = subprocess.run(
        [*who, sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("nothing can be put into") == 2
    assert (world.done / "b.jpg").exists()


def test_done_itself_without_permission_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is nobody's picture's trouble."""

    def may_write(_path: str, _mode: int, *, dir_fd: int | None = None, **_more: object) -> bool:
        return dir_fd is None or _is_in("inbox", dir_fd)

    world = World.at(tmp_path, move=shut(errno.EACCES))
    (world.done / "private").mkdir()
    with world.opened() as delivery:
        monkeypatch.setattr(
            os, "access", lambda path, mode, dir_fd=None, **_: dir_fd is None or _is_in("inbox", dir_fd)
        )
        with pytest.raises(Surroundings):
            world.caption(delivery, world.drop("private/photo.jpg"))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO, errno.EMLINK])
def test_a_file_system_without_links_reserves_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """However it says so; `rclone mount` says that it is an error of input and output."""

    def no_link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    def no_flag(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(moves, "_renameat2", no_flag)
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("trip/photo.jpg"))
        world.reject(delivery, world.drop("trip/bad.jpg"))
    world.check_quiet()


def test_a_link_that_was_made_before_its_error_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of a network may be lost after the deed: the image does not lie there twice."""
    link = os.link

    def late(*names: object, **more: object) -> None:
        link(*names, **more)  # type: ignore[arg-type]
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    world = World.at(tmp_path, move=moves.linked)
    monkeypatch.setattr(os, "link", late)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
        world.reject(delivery, world.drop("bad.jpg"))
    world.check_quiet()
