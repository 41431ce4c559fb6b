"""Ends a process at every change on disk while a picture in a library is described, or its texts change.

    python tests/libraries/crash_points.py             every point
    python tests/libraries/crash_points.py --every 5   a sample

A child claims a picture, or edits, describes again or undoes one, and kills itself with SIGKILL before the
Nth call that writes, syncs, renames, links or removes.  Then everything must be as anybody may rely on at any
time.  The next start must come to the same end as if nothing had happened, with no question if what was said
lay on disk already; after a change of texts, to the former ones or to the new ones, everywhere, and a second
try then comes to the end of the change.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent.parent))

from captiond import logs, sidecar
from captiond.delivery import moves
from captiond.libraries import MARKER
from captiond.pictures.pool import Decoders
from captiond.records import (
    Answer,
    CaptionRequest,
    Fingerprint,
    Job,
    PictureFacts,
    Said,
    SettledFile,
    Stamp,
    Texts,
    Timings,
)
from captiond.sidecar import Record
from captiond.sidecar.rewriting import edited, redone, undone
from libraries.library_world import Teller, World, drawn, said

CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "fchmod", "fchown", "utime")
WAYS = ("flagged", "linked", "reserved")
SCENES = ("new", "merged", "anew", "mirrored")
CHANGES = ("edited", "edited_again", "redone", "undone", "edited_in_mirror")
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
PATH = "trip/photo.png"
MERGED = {"merged", *CHANGES}  # an .xmp of another program lies beside the picture
FIRST, NEW = "Grandmother's wall.", "A garden wall."
AT = datetime(2026, 11, 30, tzinfo=UTC)
_QUIET_SECONDS = 0.02  # what lies beside a picture settles, too
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass
class Score:
    points: int = 0
    with_caption: int = 0
    violations: int = 0

    def __str__(self) -> str:
        told = f"{self.points} crash points, {self.with_caption} with a caption on disk"
        return f"{told}, {self.violations} violations"


def sweep(scene: str, way: str, decoders: Decoders, *, every: int = 1, first: int = 0) -> Score:
    """AssertionError at the first point where a promise is broken."""
    score = Score()
    for nth in range(first, _count(scene, way, decoders), every):
        with TemporaryDirectory(prefix="captiond-libraries-", dir=MEMORY) as folder:
            world = lay_out(Path(folder), scene, decoders)
            assert _end_at(world, scene, way, nth) == -signal.SIGKILL, f"{scene}, {way}: not killed at {nth}"
            where = f"{scene}, {way}, killed before call {nth}"
            check_instant(world, scene, where, way)
            check = check_change if scene in CHANGES else check_next_start
            score.with_caption += check(world, scene, where)
            score.points += 1
    return score


def lay_out(root: Path, scene: str, decoders: Decoders) -> World:
    """The library as it is before."""
    mirrored = scene in ("mirrored", "edited_in_mirror")
    more = {"sidecars": str(root / "mirror")} if mirrored else {}
    world = World(root, decoders, is_marked=not mirrored, **more)
    if mirrored:
        world.mirror.mkdir()
        (world.mirror / MARKER).write_text("")
    world.settings["watch"]["settle_seconds"] = _QUIET_SECONDS / 10
    world.put(PATH, 20)
    if scene in MERGED:
        (world.root / f"{PATH}.xmp").write_text(XMP)
    if scene == "anew":
        _publish(world)
        world.put(PATH, 30)
    if scene in CHANGES:
        _publish(world)
    if scene in ("edited_again", "undone"):
        _change(world, "edited")
    time.sleep(_QUIET_SECONDS)
    return world


def _count(scene: str, way: str, decoders: Decoders) -> int:
    """How many calls a child makes that is left alone."""
    with TemporaryDirectory(prefix="captiond-libraries-", dir=MEMORY) as folder:
        world = lay_out(Path(folder), scene, decoders)
        made = Path(folder) / "made"
        pid = os.fork()
        if pid == 0:
            _child(world, scene, way, sys.maxsize, made)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return int(made.read_text())


def _end_at(world: World, scene: str, way: str, nth: int) -> int:
    pid = os.fork()
    if pid == 0:
        _child(world, scene, way, nth, None)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _child(world: World, scene: str, way: str, nth: int, made: Path | None) -> NoReturn:
    try:
        passed = _killed_before(nth, way)
        if scene in CHANGES:
            _change(world, scene)
        else:
            _publish(world)
        if made is not None:
            count = passed()
            made.write_text(str(count))
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(1)


def _killed_before(nth: int, way: str) -> Callable[[], int]:
    """From here on this process ends before its Nth call; how many it has made, where it does not."""
    passed = 0
    target = os.getpid()

    def counted(call: Any) -> Any:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            nonlocal passed
            if passed == nth:
                os.kill(target, signal.SIGKILL)
            passed += 1
            return call(*arguments, **more)

        return wrapped

    def refused(number: int) -> Any:
        def call(*_: Any, **__: Any) -> NoReturn:
            raise OSError(number, os.strerror(number))

        return call

    def without_flags(*_: Any) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    if way == "reserved":
        os.link = refused(errno.EPERM)
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    setattr(moves, "_renameat2", without_flags if way != "flagged" else counted(moves._renameat2))  # noqa: B010
    return lambda: passed


def _publish(world: World) -> None:
    """What the pipeline does with a picture, without a pipeline."""
    rooms = world.rooms()
    library = rooms.libraries["photos"]
    path = world.root / PATH
    width = 20 if path.read_bytes() == drawn(20) else 30
    settled = SettledFile(f"photos/{PATH}", Fingerprint.of(path.stat()), 0.0, library="photos")
    job = library.claim(settled)
    assert isinstance(job, Job)
    request = CaptionRequest("Describe what is shown in this image.", 160)
    answer = Answer(said(width), None, Teller.identity, request, 1, 1, "stop")
    facts = PictureFacts("PNG", width, 16)
    described = job.rules.describe(job.data, "PNG", Texts(said(width)), notes=job.notes)
    stamp = Stamp(datetime(2026, 11, 29, tzinfo=UTC), "0")
    record = sidecar.compose(
        job, facts, Said(Texts(said(width)), answer), described, Timings(0, 0, 0, 0), stamp
    )
    library.publish(job, described, record)
    rooms.attempts.close()


def _change(world: World, scene: str) -> None:
    """What the page or a command does with the texts of a described picture."""
    rooms = world.rooms()
    rooms.libraries["photos"].rewrite(f"photos/{PATH}", partial(_revised, scene), AT)
    rooms.attempts.close()


def _revised(scene: str, record: Record) -> Record:
    if scene == "undone":
        return undone(record)
    if scene == "redone":
        return redone(record, Texts(NEW), {"model": {"id": "another"}}, AT, "20261130-000000")
    return edited(record, Texts(NEW if scene == "edited_again" else FIRST), AT)


def check_change(world: World, scene: str, where: str) -> bool:
    """All former or all new texts after a start that asks nothing; whether the new ones."""
    assert world.serve() == [], where
    before, after = {
        "edited": (said(20), FIRST),
        "edited_in_mirror": (said(20), FIRST),
        "edited_again": (FIRST, NEW),
        "redone": (said(20), NEW),
        "undone": (FIRST, said(20)),
    }[scene]
    stands = _must_agree(world, where)
    assert stands in (before, after), where
    if stands == before:
        _change(world, scene)
    assert _must_agree(world, where) == after, where
    assert world.serve() == [], where
    return stands == after


def _must_agree(world: World, where: str) -> str:
    """What the sidecar says, and the .xmp says, too, and nothing else lies there."""
    told = world.sidecar(PATH)
    text = world.record(PATH).with_name("photo.png.xmp").read_text()
    assert 'xmp:Rating="4"' in text, where
    assert [words for words in (said(20), FIRST, NEW) if words in text] == [told["caption"]], where
    names = {path.name for path in world.record(PATH).parent.iterdir()} - {MARKER, "photo.png"}
    assert names == {"photo.png.caption.json", "photo.png.xmp"}, where
    return str(told["caption"])


def check_instant(world: World, scene: str, where: str, way: str) -> None:
    """What anybody may rely on at any time: the picture as it was, each file whole, nobody's words lost."""
    for name, (data, modified_ns) in world.before.items():
        assert (world.root / name).read_bytes() == data, where
        assert (world.root / name).stat().st_mtime_ns == modified_ns, where
    record, xmp = world.record(PATH), world.record(PATH).with_name("photo.png.xmp")
    if record.exists() and not _is_reserved(record, way):
        told = sidecar.decode(record.read_bytes())
        assert told.caption in (said(20), said(30), FIRST, NEW), where
    if scene in MERGED - {"edited_in_mirror"}:
        assert 'xmp:Rating="4"' in xmp.read_text(), where
    elif scene not in CHANGES and xmp.exists() and not _is_reserved(xmp, way):
        assert xmp.read_text().endswith(("?>\n", "</x:xmpmeta>\n")), where
        assert said(20) in xmp.read_text() or said(30) in xmp.read_text(), where


def _is_reserved(file: Path, way: str) -> bool:
    """An empty file, where a file system can do no better."""
    return way == "reserved" and not file.stat().st_size


def check_next_start(world: World, scene: str, where: str) -> bool:
    """The same end as without a crash; whether a caption was on disk, and spared the question."""
    width = 30 if scene == "anew" else 20
    had_caption = any(_says(file, width) for file in _records(world))
    asked = world.serve()
    assert asked == ([] if had_caption else [width]), f"{where}: asked {asked}"
    assert world.sidecar(PATH)["caption"] == said(width), where
    xmp = world.record(PATH).with_name("photo.png.xmp").read_text()
    assert said(width) in xmp, where
    assert scene != "anew" or said(20) not in xmp, where
    assert scene != "merged" or 'xmp:Rating="4"' in xmp, where
    names = {path.name for path in world.record(PATH).parent.iterdir()} - {MARKER, "photo.png"}
    assert names == {"photo.png.caption.json", "photo.png.xmp"}, where
    return had_caption


def _records(world: World) -> list[Path]:
    folder = world.record(PATH).parent
    return [*folder.glob("*.caption.json"), *folder.glob(".captiond-*.json")] if folder.exists() else []


def _says(file: Path, width: int) -> bool:
    try:
        return sidecar.decode(file.read_bytes()).caption == said(width)
    except ValueError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    logs.configure("warning", "console")
    total = Score()
    with Decoders() as decoders:
        for scene in (*SCENES, *CHANGES):
            for way in WAYS:
                score = Score()
                try:
                    score = sweep(scene, way, decoders, every=every)
                except AssertionError as broken:
                    score.violations += 1
                    print(f"BROKEN {broken}", flush=True)
                print(f"{scene}, {way}: {score}", flush=True)
                total.points += score.points
                total.with_caption += score.with_caption
                total.violations += score.violations
    print(f"in all: {total}")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
