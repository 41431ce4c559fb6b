"""Kills a real process at every system call of a delivery, and looks what recovery makes of it.

    python tests/delivery/torture.py             every point, and a sample of crashes of the recoveries after
    python tests/delivery/torture.py --every 5   a sample of both
    python tests/delivery/torture.py --powercut  the states that a power cut may leave (see powercut.py)

A child opens the folders, claims a picture, and stops.  strace is attached then, told to kill the child on
the Nth of its renames, or fsyncs, or writes, and the child goes on.  Then this process recovers, with a model
that counts how often it is asked, and the folders must be as if nothing had happened.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from delivery_world import (
    FACTS,
    LATER,
    MOVES,
    NEW_WORDS,
    STAMP,
    WORDS,
    World,
    apart,
    awaits_approval,
    embed,
    embed_beside,
    picky,
    said,
    users_files,
)

from captiond import sidecar
from captiond.delivery import Delivery
from captiond.records import Texts, Timings
from captiond.sidecar.rewriting import approved, undone

# What changes a file system, and what makes a change durable.
CALLS = (
    "open,openat,creat,mkdir,mkdirat,write,pwrite64,pwritev,fsync,fdatasync,ftruncate,rename,renameat,"
    "renameat2,link,linkat,unlink,unlinkat,rmdir,fchmod,fchown,utimensat,fsetxattr"
)
PATH = "trip/photo.jpg"
BY_DATE = "2024/05"
DATA = b"a picture" * 1000
WAYS = {**MOVES, "apart": apart, "picky": picky}
FITTING_STEM = f"photo~{hashlib.sha256(b'photo.jpg').hexdigest()[:8]}"
OTHER_STEM = f"photo~{hashlib.sha256(DATA).hexdigest()[:8]}"
# An .xmp that the caption is merged into, and two files that travel along; a .txt is made.
BESIDE = {
    "trip/photo.jpg.xmp": b"<x/>" * 500,
    "trip/photo.AAE": b"an edit",
    "trip/photo.MOV": b"a film" * 1000,
}
PATIENCE_SECONDS = 30.0
# A killed process leaves the same files there as on a disk, only sooner.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


APPROVALS = ("approve", "edit_waiting", "undo_approval")
REVISIONS = ("revise", "edit_all", "redo", "undo", *APPROVALS)  # of what lies in done/


@dataclass(frozen=True)
class Point:
    """The `nth` time that the child makes this system call."""

    call: str
    nth: int


@dataclass(frozen=True)
class Scenario:
    """What the child does, and what lies there before it."""

    act: str  # publish, set_aside, duplicate, recover, or one of REVISIONS
    move: str
    taken: bool = False  # the delivered name is taken already
    beside: bool = False  # other files lie beside the picture and travel with it
    by_date: bool = False  # it goes to another folder than the one it was dropped in
    cut: Point | None = None  # for recover: where the process before it was killed
    before: str = "publish"  # for recover: what that process did

    @property
    def revises(self) -> bool:
        return bool({self.act, self.before} & {*REVISIONS})

    @property
    def waits(self) -> bool:
        """Whether the texts wait for approval when the picture is delivered."""
        return bool({self.act, self.before} & {*APPROVALS})

    @property
    def sends_again(self) -> bool:
        return "duplicate" in (self.act, self.before)

    def rules(self, folder: str = BY_DATE) -> dict[str, Any]:
        """What is different from the usual ones; `folder`: where by these a picture goes."""
        changes: dict[str, Any] = {"skips_duplicates": self.sends_again}
        return changes | ({"folder_of": lambda *_: folder} if self.by_date else {})

    def __str__(self) -> str:
        after = f" after {self.before} to {self.cut.call} {self.cut.nth}" if self.cut else ""
        more = (", name taken" if self.taken else "") + (", with companions" if self.beside else "")
        more += ", by date" if self.by_date else ""
        return f"{self.act}{after}, {self.move}{more}"


@dataclass
class Score:
    points: int = 0
    with_caption: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.points} crash points, {self.with_caption} with a caption on disk, "
            f"{len(self.failures)} violations"
        )

    def add(self, other: Score) -> None:
        self.points += other.points
        self.with_caption += other.with_caption
        self.failures += other.failures


def missing_tool() -> str | None:
    """Why this machine cannot do it; None where it can."""
    if shutil.which("strace") is None:
        return "strace is not on the PATH"
    probe = subprocess.run(
        ["strace", "-o", os.devnull, "-e", "inject=getpid:signal=KILL:when=999", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()}"


def world_at(root: Path, scenario: Scenario) -> World:
    embedding = embed_beside if scenario.beside else embed
    return World.at(root, move=WAYS[scenario.move], embed=embedding, awaits_approval=scenario.waits)


def lay_out(root: Path, scenario: Scenario) -> World:
    world = world_at(root, scenario)
    world.drop(PATH, DATA)
    if scenario.beside:
        for path, data in BESIDE.items():
            world.drop_beside(path, data)
    if scenario.taken:
        for place in (world.done, world.failed):
            (place / "trip").mkdir()
            (place / PATH).write_bytes(b"somebody's")
    if scenario.revises or scenario.sends_again:
        with world.opened(**scenario.rules()) as delivery:
            world.caption(delivery, world.settled(PATH))
            if "undo" in (scenario.act, scenario.before):
                delivery.edit(PATH, NEW_WORDS, LATER)
            if "undo_approval" in (scenario.act, scenario.before):
                revision(delivery, "approve")()
    if scenario.sends_again:
        for path, data in {PATH: DATA, **world.beside}.items():
            (world.inbox / path).write_bytes(data)
    return world


def points(scenario: Scenario) -> list[Point]:
    """All points of a scenario, in the order in which a child that is left alone passes them."""
    with TemporaryDirectory(prefix="captiond-torture-", dir=MEMORY) as folder:
        world = _laid_out_and_cut(Path(folder), scenario)
        log = Path(folder) / "strace"
        _run_child(world, scenario, ["-o", str(log), "-e", f"trace={CALLS}"])
        seen: Counter[str] = Counter()
        passed = []
        for line in log.read_text(errors="replace").splitlines():
            match = re.match(r"(?:\d+ +)?(\w+)\(", line)
            if match is not None:
                seen[match[1]] += 1
                passed.append(Point(match[1], seen[match[1]]))
        return passed


def sweep(scenario: Scenario, *, every: int = 1, first: int = 0) -> Score:
    """Kill a child at each point in turn, and recover each time."""
    score = Score()
    for point in points(scenario)[first::every]:
        with TemporaryDirectory(prefix="captiond-torture-", dir=MEMORY) as folder:
            world = _laid_out_and_cut(Path(folder), scenario)
            _kill(world, scenario, point)
            judge(score, world, scenario, f"killed at {point.call} {point.nth}")
    return score


def judge(score: Score, world: World, scenario: Scenario, where: str) -> None:
    score.points += 1
    try:
        check_instant(world)
        score.with_caption += check_recovery(world, scenario)
    except AssertionError as error:
        score.failures.append(f"{scenario}: {where}: {error}")


def check_instant(world: World) -> None:
    """What anybody may rely on at any time, in the middle of a crash as well."""
    for path, data in world.beside.items():
        there = [world.inbox / path, *(world.inbox / ".captiond/grab").glob("*"), *world.done.rglob("*")]
        whole = [file for file in there if file.is_file() and file.read_bytes().startswith(data)]
        assert whole, f"{path} is nowhere"
    images = [world.inbox / PATH]
    for place, suffix in ((world.done, ".caption.json"), (world.failed, ".error.json")):
        for path in users_files(place):
            if path.endswith(".jpg"):
                images.append(place / path)
            elif not path.endswith(".json"):
                continue
            elif (place / path).stat().st_size:  # empty: reserved, where a file system can do no better
                told = json.loads((place / path).read_bytes())
                image = (place / path.removesuffix(suffix)).read_bytes()
                published = told.get("published", told["source"])["sha256"]
                assert hashlib.sha256(image).hexdigest() == published, f"{path} tells of another image"
                check_company(place / path, told)
    whole = [image for image in images if image.exists() and image.read_bytes().startswith(DATA)]
    assert whole, "the picture is nowhere"


def check_company(record: Path, told: dict[str, Any]) -> None:
    """Whoever sees the sidecar finds all that came along beside it, and what was made."""
    stem = record.name.removesuffix(".jpg.caption.json")
    for companion in told.get("companions", ()):
        data = (record.parent / companion["name"].replace("photo", stem, 1)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == companion["sha256"], f"{companion['name']} is another"
    if "companions" in told and not awaits_approval(told):
        assert (record.parent / f"{stem}.txt").read_bytes() == told["caption"].encode()


def check_recovery(world: World, scenario: Scenario) -> bool:
    """Recover in this process, as a restarted daemon would; whether there was a caption to make use of."""
    had_record = _has_record(world.done / ".captiond")
    # Settings that changed since move nothing of which a claim tells.
    is_claimed = any((world.done / ".captiond").glob("*.claim"))
    folder = "changed/since" if is_claimed and had_record else BY_DATE
    with world.opened(**scenario.rules(folder)) as delivery:
        delivery.recover()
        assert not delivery.unresolved
        assert not delivery.take_notices()
        left = [path for path in users_files(world.inbox) if path not in world.beside]
        if left and "set_aside" in (scenario.act, scenario.before):
            world.reject(delivery, world.settled(PATH))
        elif left:
            assert not had_record, "a caption was on disk and the model is asked again"
            world.work_off(delivery)
        assert delivery.recover() == []
        if scenario.revises:
            _check_revision(world, scenario)
            delivery.edit(PATH, "Somebody else's words.", LATER)
        if scenario.sends_again:
            assert world.asked <= 1, "the model was asked about a duplicate"
    if scenario.taken:
        for place in (world.done, world.failed):
            assert (place / PATH).read_bytes() == b"somebody's", "a name was replaced"
            (place / PATH).unlink()
    world.check_quiet()
    names = {*users_files(world.done), *users_files(world.failed)}
    files = {name for name in names if not name.endswith(".json")}
    expected = {PATH, *world.beside, *(["trip/photo.txt"] if scenario.beside else [])}
    if scenario.taken:
        expected = {name.replace("photo", OTHER_STEM) for name in expected}
    if scenario.by_date:
        expected = {name.replace("trip/", f"{BY_DATE}/") for name in expected}
    if scenario.move == "picky":
        expected = {name.replace("photo", FITTING_STEM) for name in expected}
    assert files == expected, f"not the names as without a crash: {files}"
    return had_record


def _check_revision(world: World, scenario: Scenario) -> None:
    """The old texts or the new ones, in the sidecar and in the image; check_quiet compares the two."""
    told = json.loads((world.done / f"{PATH}.caption.json").read_bytes())
    act = next(one for one in (scenario.act, scenario.before) if one in REVISIONS)
    edited = (told.get("edited") or {}).get("model_caption")
    history = [one["why"] for one in told.get("history", ())]
    if scenario.waits:
        assert awaits_approval(told) is not bool(history), "texts that wait are approved, or neither"
    there = told["caption"], edited, told.get("fields"), history
    model: Any = (WORDS, None, None, [])
    by_person = (NEW_WORDS, WORDS, None, ["edit"])
    approved = (WORDS, None, None, ["approve"])
    fields = {"alt_text": "Rex", "title": "Rex", "keywords": ["rex"], "visible_text": ""}
    either = {
        "revise": (model, by_person),
        "edit_all": (model, (NEW_WORDS, WORDS, fields, ["edit"])),
        "redo": (model, (NEW_WORDS, None, None, ["redo"])),
        "undo": (by_person, model),
        "approve": (model, approved),
        "edit_waiting": (model, by_person),
        "undo_approval": (approved, model),
    }
    assert there in either[act], f"neither the old texts nor the new ones: {there}"
    world.check_quiet()


def _has_record(work: Path) -> bool:
    for file in work.glob("*.json"):
        try:
            sidecar.decode(file.read_bytes())
        except ValueError:
            continue
        return True
    return False


def _laid_out_and_cut(root: Path, scenario: Scenario) -> World:
    world = lay_out(root, scenario)
    if scenario.cut is not None:
        _kill(world, replace(scenario, act=scenario.before, cut=None), scenario.cut)
    return world


def _kill(world: World, scenario: Scenario, point: Point) -> None:
    # strace counts each system call by itself, so it is told of one only.
    inject = f"inject={point.call}:signal=KILL:when={point.nth}"
    options = ["-o", os.devnull, "-e", f"trace={point.call}", "-e", inject]
    if _run_child(world, scenario, options) != -signal.SIGKILL:
        raise RuntimeError(f"{scenario}: the child was not killed at {point}")


def _run_child(world: World, scenario: Scenario, options: list[str]) -> int:
    told = {"root": str(world.inbox.parent), **asdict(replace(scenario, cut=None))}
    with _nursery().child(told) as pid:
        # It stops itself: a process that runs would make a few calls before strace looks at them.
        _wait_for(pid, "State:\tT")
        command = ["strace", "-qq", "-f", *options, "-p", str(pid)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
            _wait_for(pid, f"TracerPid:\t{strace.pid}\n")
            os.kill(pid, signal.SIGCONT)
            status = _nursery().status()
            strace.wait(PATIENCE_SECONDS)
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child ended with {status}")
    return status


def _wait_for(pid: int, sign: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while sign not in (status := Path(f"/proc/{pid}/status").read_text()):
        if "State:\tZ" in status or time.monotonic() > until:
            raise RuntimeError(f"the child did not come to {sign!r}")
        time.sleep(0.001)


class Nursery:
    """A process that has imported everything, and forks a child whenever it is asked for one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @contextmanager
    def child(self, told: dict[str, Any]) -> Iterator[int]:
        """Its process id; it does what it is told and ends, or else it is killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        pid = self._answer()
        try:
            yield pid
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise

    def status(self) -> int:
        """How the child ended; negative for a signal."""
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@cache
def _nursery() -> Nursery:
    nursery = Nursery()
    atexit.register(nursery.close)
    return nursery


def _bring_up() -> None:
    """What a nursery does."""
    for line in sys.stdin:
        told = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                _child(Path(told.pop("root")), Scenario(**told))
            finally:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def revision(delivery: Delivery, act: str) -> Callable[[], object]:
    """What changes the texts of the delivered picture."""
    if act == "edit_all":
        texts = Texts(NEW_WORDS, "Rex", "Rex", ("rex",), (), "")
        return lambda: delivery.edit(PATH, lambda former, limits: texts, LATER)
    if act == "redo":
        now, took = said(NEW_WORDS), Timings(0.0, 0.0, 0.0, 0.0)
        return lambda: delivery.rewrite(
            PATH, lambda record: sidecar.redone(record, FACTS, now, took, STAMP), LATER
        )
    if act == "approve":
        return lambda: delivery.rewrite(PATH, lambda record: approved(record, LATER, "Ada"), LATER)
    if act in ("undo", "undo_approval"):
        return lambda: delivery.rewrite(PATH, undone, LATER)
    return lambda: delivery.edit(PATH, NEW_WORDS, LATER)


def _child(root: Path, scenario: Scenario) -> None:
    """Come to the point where the work begins, wait for strace, and do it."""
    world = world_at(root, scenario)
    world.beside = BESIDE if scenario.beside else {}
    delivery = world.delivery(**scenario.rules())
    delivery.open()
    if scenario.act == "recover":
        _wait()
        delivery.recover()
        world.work_off(delivery)
    elif scenario.act == "duplicate":
        _wait()
        delivery.claim(world.settled(PATH))
    elif scenario.act == "publish":
        job = world.claim(delivery, world.settled(PATH))
        _wait()
        world.publish(delivery, job)
    elif scenario.act in REVISIONS:
        act = revision(delivery, scenario.act)
        _wait()
        act()
    else:
        settled = world.settled(PATH)
        _wait()
        world.reject(delivery, settled)
    os._exit(0)  # what the interpreter does at its end is no part of the delivery


def _wait() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="only every Nth point")
    parser.add_argument("--nested", type=int, default=7, help="every Nth point in every Nth recovery")
    parser.add_argument("--powercut", action="store_true", help="cut the power instead of killing")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.nursery:
        _bring_up()
        return 0
    if arguments.powercut:
        from powercut import cut_everywhere as attack
    else:
        attack = sweep
        if (reason := missing_tool()) is not None:
            print(f"cannot torture: {reason}")
            return 2

    scenarios = [
        (Scenario(act, move, taken, beside), arguments.every)
        for move in MOVES
        for taken in (False, True)
        for act, beside in (("publish", False), ("publish", True), ("set_aside", False))
    ]
    scenarios += [
        (Scenario(act, move, beside=beside), arguments.every)
        for act in (*REVISIONS, "duplicate")
        for move in MOVES
        for beside in (False, True)
    ]
    scenarios += [(Scenario("set_aside", "apart", taken), arguments.every) for taken in (False, True)]
    scenarios += [(Scenario("publish", "picky", beside=beside), arguments.every) for beside in (False, True)]
    scenarios += [
        (Scenario(act, move, beside=True, by_date=True), arguments.every)
        for act in ("publish", "duplicate")
        for move in MOVES
    ]
    if not arguments.powercut:
        step = arguments.every * arguments.nested
        recovered = [
            Scenario(act, move, beside=beside)
            for move in MOVES
            for beside in (False, True)
            for act in ("publish", *REVISIONS, "duplicate", "set_aside")
            if not (act == "set_aside" and beside)
        ]
        recovered.append(Scenario("publish", "flagged", beside=True, by_date=True))
        scenarios += [
            (replace(before, act="recover", cut=cut, before=before.act), step)
            for before in [*recovered, Scenario("set_aside", "apart"), Scenario("publish", "picky")]
            for cut in points(before)[::step]
        ]
    total = Score()
    for scenario, every in scenarios:
        score = attack(scenario, every=every)
        print(f"{scenario}: {score}", flush=True)
        total.add(score)
    print(f"in all: {total}")
    for failure in total.failures:
        print(failure)
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
