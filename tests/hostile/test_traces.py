"""Promises about what is read from a disk: a record is data, and what cannot be understood stops nobody."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from delivery_world import LATER, World, users_files

from captiond import sidecar
from captiond.delivery import claims, edit_steps
from captiond.delivery.retry import failures, put_back
from captiond.errors import NotThere
from captiond.names import checked_path
from captiond.records import Notice

JOB = "0123456789abcdef01234567"
DATA = b"a picture"
SHA256 = hashlib.sha256(DATA).hexdigest()
GIGABYTES = 8 * 1024**3

OUTSIDE = (
    "/etc/passwd", "../evil.sh", "a/../../evil.sh", "..", ".", "", "a//b", "a/", "./a", "a\0b", "x" * 256,
    ".captiond/lock", "a/.captiond/x", ".Captiond/lock", "a/" * 1024 + "b", "/".join(["x" * 255] * 200),
    "\ud800.jpg",
)  # fmt: skip
FINGERPRINT = ("device", "inode", "size", "modified_ns", "changed_ns")
NO_TEXT: tuple[object, ...] = (None, 5, 1.5, True, [], {}, ["a"], {"a": 1})
FORGED_FINGERPRINTS: tuple[object, ...] = (
    {}, [], *(dict.fromkeys(FINGERPRINT, value) for value in ("1", None, True, 1e400, 2**65))
)  # fmt: skip


@pytest.mark.parametrize("path", [*OUTSIDE, *NO_TEXT], ids=lambda path: repr(path)[:30])
def test_only_a_path_beneath_its_folder_is_one(path: object) -> None:
    """Relative, without `..` or NUL, bounded, and not into the daemon's own folder; else ValueError."""
    with pytest.raises(ValueError):
        checked_path(path)


@pytest.mark.parametrize(
    "path", ["a", "a/b.jpg", "..a", "a..", " ", "\udcff.jpg", "a\nb", "x" * 255, "ü/-rf"]
)
def test_every_name_that_the_kernel_takes_is_one(path: str) -> None:
    """However odd it looks."""
    assert checked_path(path) == path


def error_record(**source: Any) -> bytes:
    told = {"name": "x.jpg", "path": "x.jpg", "sha256": SHA256, "bytes": len(DATA), "modified_at": None}
    return json.dumps(
        {
            "schema": "captiond/error", "schema_version": 1, "kind": "unreadable", "message": "m",
            "stage": "decode", "attempts": 1, "advice": None, "source": {**told, **source},
        }
    ).encode()  # fmt: skip


def caption_record(**changes: Any) -> bytes:
    told = {"name": "x.jpg", "path": "x.jpg", "sha256": SHA256, "bytes": len(DATA), "modified_at": None}
    record = {
        "schema": "captiond/caption", "schema_version": 1, "caption": "c", "published": {"sha256": SHA256},
        "source": {**told, "format": "JPEG", "width": 1, "height": 1}, "written": [],
    }  # fmt: skip
    return json.dumps(record | changes).encode()


def claim(*, path: object = "x.jpg", name: object = "x.jpg", **piece: Any) -> dict[str, Any]:
    fingerprint = {"device": 1, "inode": 2, "size": len(DATA), "modified_ns": 3, "changed_ns": 4}
    original = {"path": path, "fingerprint": fingerprint, "sha256": SHA256}
    picture = {"tail": {"suffix": "", "on_stem": False}, "sha256": SHA256, "original": original}
    return {"name": name, "pieces": [picture | piece]}


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


NONSENSE = {
    "empty": b"",
    "not JSON": b"\xff\xfe\x00not",
    "deep": b"[" * 100_000,
    "deep and closed": deep(50_000),
    "rather deep": deep(900),
    "a list": b"[]",
    "a number": b"5",
    "huge number": b'{"name": ' + b"9" * 5_000 + b"}",
    "NaN": b"NaN",
    "null": b"null",
    "wrong types": b'{"name": [], "path": {}, "pieces": 7, "sha256": 1, "schema": 1, "source": []}',
    "pieces of text": b'{"name": "a", "pieces": "abc"}',
    "no pieces": b'{"name": "a", "pieces": []}',
}
FORGED_CLAIMS = [
    *(claim(path=path) for path in (*OUTSIDE, *NO_TEXT)),
    *(claim(name=path) for path in (*OUTSIDE, *NO_TEXT)),
    claim(original=None),
    claim(original=[]),
    claim(sha256="../x"),
    claim(sha256=5),
    claim(tail={"suffix": ".jpg", "on_stem": False}),
    claim(tail={"suffix": 5, "on_stem": False}),
    claim(tail=[]),
    *(
        {**claim(), "pieces": [*claim()["pieces"], {**claim()["pieces"][0], "tail": tail}]}
        for tail in (
            {"suffix": "/../../outside/evil.sh", "on_stem": False},
            {"suffix": "/../evil", "on_stem": True},
            {"suffix": "\0", "on_stem": False},
            {"suffix": "x" * 300, "on_stem": False},
            {"suffix": ".xmp", "on_stem": "yes"},
            {"suffix": ".xmp"},
        )
    ),
    *(
        claim(original={**claim()["pieces"][0]["original"], "fingerprint": fingerprint})
        for fingerprint in FORGED_FINGERPRINTS
    ),
]  # fmt: skip


@pytest.mark.parametrize("told", FORGED_CLAIMS, ids=lambda told: repr(told)[:60])
def test_a_claim_leads_nowhere_else(told: dict[str, Any]) -> None:
    """Each path, name, suffix, number and checksum of a claim is checked before anything is done by it."""
    with pytest.raises(ValueError):
        claims.claim_from(json.dumps(told).encode())


@pytest.mark.parametrize("path", [*OUTSIDE, *NO_TEXT], ids=lambda path: repr(path)[:30])
def test_records_and_claims_of_edits_lead_nowhere_else(path: object) -> None:
    """Likewise."""
    for record in (error_record(path=path), caption_record(source={"path": path, "sha256": SHA256})):
        with pytest.raises(ValueError):
            sidecar.decode(record)
    told = {"path": path, "pieces": [{"name": "x.jpg", "old": SHA256, "new": SHA256}]}
    for forged in (told, {**told, "path": "x.jpg", "pieces": [{"name": path, "old": SHA256, "new": SHA256}]}):
        with pytest.raises(ValueError):
            edit_steps.claim_from(json.dumps({**forged, "old_record": SHA256, "new_record": SHA256}).encode())


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_no_record(kind: str) -> None:
    """ValueError and nothing else, whatever the bytes."""
    for read in (sidecar.decode, claims.claim_from, edit_steps.claim_from):
        with pytest.raises(ValueError):
            read(NONSENSE[kind])


# At a start.


def sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(GIGABYTES)


def folder(file: Path) -> None:
    file.mkdir()
    (file / "inner").touch()


def link(file: Path) -> None:
    file.symlink_to("/etc/passwd")


def fifo(file: Path) -> None:
    os.mkfifo(file)


SHAPES: dict[str, Callable[[Path], object]] = {
    **{kind: lambda file, kind=kind: file.write_bytes(NONSENSE[kind]) for kind in NONSENSE},  # type: ignore[misc]
    "8 GB": sparse,
    "a folder": folder,
    "a link": link,
    "a FIFO": fifo,
}


@pytest.mark.parametrize("trace", ["json", "claim", "delivered", "img", "1", "json.new"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["done", "failed"])
@pytest.mark.timeout(20)
def test_what_cannot_be_understood_stops_no_start(tmp_path: Path, shape: str, trace: str, name: str) -> None:
    """It is put by and told, everything else is recovered and served, and the last copy of an image stays."""
    world = World.at(tmp_path)
    work = getattr(world, name) / ".captiond"
    work.mkdir(mode=0o700)
    (work / f"{JOB}.img").write_bytes(b"the last copy")
    with contextlib.suppress(FileNotFoundError):
        (work / f"{JOB}.{trace}").unlink()
    SHAPES[shape](work / f"{JOB}.{trace}")
    with world.opened() as delivery:
        assert delivery.recover() == []
        notices = delivery.take_notices()
        world.caption(delivery, world.drop("photo.jpg"))
        assert delivery.recover() == []
        assert delivery.unresolved == ()
    assert users_files(world.done) == ["photo.jpg", "photo.jpg.caption.json"]
    kept = work / "not-understood"
    if trace in ("json", "claim", "delivered"):
        assert any(JOB in notice.message for notice in notices)
        assert (kept / f"{JOB}.img").read_bytes() == b"the last copy"
    assert Path("/etc/passwd").exists()


def test_what_is_put_by_again_replaces_nothing(tmp_path: Path) -> None:
    """Each gets a name of its own."""
    world = World.at(tmp_path)
    for number in range(3):
        with world.opened():
            pass
        (world.done / ".captiond" / f"{JOB}.json").write_bytes(b"%d" % number)
        (world.done / ".captiond" / f"{JOB}.img").write_bytes(b"picture %d" % number)
        with world.opened() as delivery:
            delivery.recover()
    kept = [file.read_bytes() for file in (world.done / ".captiond/not-understood").iterdir()]
    assert sorted(kept) == [b"0", b"1", b"2", b"picture 0", b"picture 1", b"picture 2"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.timeout(20)
def test_a_begun_edit_that_cannot_be_understood_stops_nobody(tmp_path: Path, shape: str) -> None:
    """Neither a start nor the next edit."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    revise = world.done / ".captiond/revise"
    revise.mkdir()
    (revise / f"{JOB}.old").write_bytes(b"a sidecar")
    SHAPES[shape](revise / f"{JOB}.claim")
    with world.opened() as delivery:
        assert delivery.recover() == []
        assert any(JOB in notice.message for notice in delivery.take_notices())
        delivery.edit("photo.jpg", "other words", LATER)
    assert (world.done / ".captiond/not-understood" / f"{JOB}.old").read_bytes() == b"a sidecar"


@pytest.mark.parametrize("path", ["../photo.jpg", "/etc/passwd", ".captiond/lock", "a\0b", "x" * 5000])
def test_an_edit_reaches_nothing_outside(tmp_path: Path, path: str) -> None:
    """Whatever path the history holds."""
    world = World.at(tmp_path)
    with world.opened() as delivery, pytest.raises(NotThere):
        delivery.edit(path, "words", LATER)


# Forged marks.


def test_a_forged_mark_removes_no_picture_but_the_one_that_it_knows(tmp_path: Path) -> None:
    """An original goes only if its bytes have the claimed checksum, whatever inode and time a mark tells."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.drop("photo.jpg", b"somebody's only copy")
        status = (world.inbox / "photo.jpg").stat()
        fingerprint = {
            "device": status.st_dev, "inode": status.st_ino, "size": status.st_size,
            "modified_ns": status.st_mtime_ns, "changed_ns": status.st_ctime_ns,
        }  # fmt: skip
        told = claim(path="photo.jpg")
        told["pieces"][0]["original"]["fingerprint"] = fingerprint
        (world.done / ".captiond" / f"{JOB}.delivered").write_bytes(json.dumps(told).encode())
        delivery.recover()
        delivery.tidy()
    assert (world.inbox / "photo.jpg").read_bytes() == b"somebody's only copy"


def test_a_mark_is_not_enough_where_others_may_have_made_it(tmp_path: Path) -> None:
    """On a file system without permissions the sidecar of which it tells must be seen; else it is put by."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        folders = delivery._folders
        folders._opened["done"] = _open_to_others(folders._opened["done"])
        world.drop("photo.jpg", DATA)
        told = claim(path="photo.jpg", name="photo.jpg")
        told["pieces"][0]["original"]["fingerprint"]["inode"] = (world.inbox / "photo.jpg").stat().st_ino
        (world.done / ".captiond" / f"{JOB}.delivered").write_bytes(json.dumps(told).encode())
        assert delivery.recover() == []
        assert (world.inbox / "photo.jpg").read_bytes() == DATA
        world.work_off(delivery)
    assert (world.done / ".captiond/not-understood" / f"{JOB}.delivered").exists()


def _open_to_others(folder: Any) -> Any:
    from dataclasses import replace

    return replace(folder, is_private=False)


# Retries.


@pytest.mark.parametrize("path", [*OUTSIDE, *NO_TEXT], ids=lambda path: repr(path)[:30])
def test_a_forged_error_puts_nothing_outside_the_inbox(tmp_path: Path, path: object) -> None:
    """It is no error of ours then: nothing is touched, and everything else can be retried."""
    world = World.at(tmp_path / "folders")
    (tmp_path / "outside").mkdir()
    with world.opened() as delivery:
        world.reject(delivery, world.drop("good.jpg"))
    (world.failed / "x.jpg").write_bytes(DATA)
    (world.failed / "x.jpg.error.json").write_bytes(error_record(path=path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotThere):
        put_back("x.jpg", inbox=world.inbox, failed=world.failed)
    after = {path for path in tmp_path.rglob("*") if ".captiond" not in path.parts}
    assert after <= set(before)
    assert put_back("good.jpg", inbox=world.inbox, failed=world.failed) == "good.jpg"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.timeout(20)
def test_an_error_that_cannot_be_read_is_none(tmp_path: Path, shape: str) -> None:
    """Likewise."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("good.jpg"))
    (world.failed / "x.jpg").write_bytes(DATA)
    SHAPES[shape](world.failed / "x.jpg.error.json")
    with pytest.raises(NotThere):
        put_back("x.jpg", inbox=world.inbox, failed=world.failed)
    assert "good.jpg" in failures(world.failed)
    put_back("good.jpg", inbox=world.inbox, failed=world.failed)
    assert (world.failed / "x.jpg").read_bytes() == DATA


def test_a_forged_error_gains_no_rights(tmp_path: Path) -> None:
    """What comes back can be executed by nobody, and is nobody else's."""
    world = World.at(tmp_path)
    (world.failed / "evil.sh").write_bytes(b"#!/bin/sh\n")
    (world.failed / "evil.sh").chmod(0o6777)
    (world.failed / "evil.sh.error.json").write_bytes(error_record(path="bin/evil.sh"))
    put_back("evil.sh", inbox=world.inbox, failed=world.failed)
    assert stat.S_IMODE((world.inbox / "bin/evil.sh").stat().st_mode) == 0o666


@pytest.mark.parametrize("in_the_way", ["file", "link"])
def test_an_error_whose_folder_is_taken_goes_beside_it(tmp_path: Path, in_the_way: str) -> None:
    """A file or a link where a folder is to be leads nowhere and blocks nobody."""
    world = World.at(tmp_path / "folders")
    outside = tmp_path / "outside"
    outside.mkdir()
    if in_the_way == "file":
        (world.inbox / "trip").write_bytes(b"somebody's")
    else:
        (world.inbox / "trip").symlink_to(outside)
    (world.failed / "x.jpg").write_bytes(DATA)
    (world.failed / "x.jpg.error.json").write_bytes(error_record(path="trip/x.jpg"))
    returned = put_back("x.jpg", inbox=world.inbox, failed=world.failed)
    assert returned.startswith("trip~")
    assert (world.inbox / returned).read_bytes() == DATA
    assert not list(outside.iterdir())


@pytest.mark.parametrize("trace", ["json", "claim"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.timeout(20)
def test_one_bad_retry_blocks_no_later_one(tmp_path: Path, shape: str, trace: str) -> None:
    """What an earlier retry left and cannot be understood is put by, with the image that waits for it."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        world.reject(delivery, world.drop("good.jpg"))
    traces, written = world.failed / ".captiond/retry", world.inbox / ".captiond/retry"
    for place in (traces, written):
        place.mkdir(mode=0o700)
    (traces / f"{JOB}.json").write_bytes(error_record())
    (traces / f"{JOB}.claim").write_bytes(json.dumps({"path": "x.jpg", "sha256": SHA256}).encode())
    (written / JOB).write_bytes(b"the last copy")
    (traces / f"{JOB}.{trace}").unlink()
    SHAPES[shape](traces / f"{JOB}.{trace}")
    told: list[Notice] = []
    assert put_back("good.jpg", inbox=world.inbox, failed=world.failed, tell=told.append) == "good.jpg"
    assert any(JOB in notice.message for notice in told)
    assert (world.inbox / ".captiond/not-understood" / JOB).read_bytes() == b"the last copy"
    assert os.listdir(traces) == []


@pytest.mark.parametrize("path", [*OUTSIDE, *NO_TEXT], ids=lambda path: repr(path)[:30])
def test_a_forged_claim_of_a_retry_removes_nothing(tmp_path: Path, path: object) -> None:
    """What it names lies elsewhere, or nowhere."""
    world = World.at(tmp_path / "folders")
    with world.opened() as delivery:
        world.reject(delivery, world.drop("good.jpg"))
    (tmp_path / "folders/evil.sh").write_bytes(DATA)
    traces = world.failed / ".captiond/retry"
    traces.mkdir(mode=0o700)
    (traces / f"{JOB}.json").write_bytes(error_record())
    (traces / f"{JOB}.claim").write_bytes(json.dumps({"path": path, "sha256": SHA256}).encode())
    put_back("good.jpg", inbox=world.inbox, failed=world.failed)
    assert (tmp_path / "folders/evil.sh").read_bytes() == DATA
    assert f"{JOB}.claim" in os.listdir(world.failed / ".captiond/not-understood")


@pytest.mark.parametrize("path", ["../photo.jpg", "/etc/passwd", ".captiond/lock", "a\0b", ""])
def test_a_retry_is_asked_for_beneath_failed_alone(tmp_path: Path, path: str) -> None:
    """Whoever asks."""
    world = World.at(tmp_path)
    with pytest.raises(NotThere):
        put_back(path, inbox=world.inbox, failed=world.failed)
