"""Delivered pictures described again, some of which a person has edited, with a kill in the middle."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from daemon_process import environment
from fake_chat_server import Handler, describe
from faults.load import Load, Process, loaded

EDITED = 10  # every so manieth
AGAIN = " Seen once more."


def redo(root: Path, pictures: int) -> str:
    """None of the edited ones changes; each other one is asked about once, and whole in all its places."""
    with loaded(root) as load:
        with load.running() as daemon:
            load.drop(pictures)
            load.until_delivered(daemon, patience_seconds=900)
        edited = _correct(load)
        before = {name: _bytes_of(load, name) for name in edited}
        asked = load.asked
        load.server.always = _say_so_again
        _run(load, "redo", "--yes")
        _kill_in_the_middle(load, pictures)
        with load.running() as daemon:
            _until_done(load, daemon)
        for name in load.captions:
            _check(load, name, is_edited=name in edited)
        assert {name: _bytes_of(load, name) for name in edited} == before
        more = load.asked - asked - (pictures - len(edited))
        assert 0 <= more <= 2 * IN_FLIGHT, more
    asked_again = pictures - len(edited)
    return f"{asked_again:,} asked again, {more} of them twice for a kill; {len(edited)} edited ones stayed"


IN_FLIGHT = 8  # and the test pictures of two starts


def _run(load: Load, *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "captiond", *command, "-c", str(load.place.settings)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _correct(load: Load) -> set[str]:
    """Every tenth caption, by a table."""
    rows = list(csv.DictReader(io.StringIO(_run(load, "export"))))
    changed = rows[::EDITED]
    for row in changed:
        row["caption"] = f"What a person says of {row['path']}."
    table = load.place.root / "corrected.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _run(load, "import", str(table), "--yes")
    return {row["path"] for row in changed}


def _say_so_again(handler: Handler) -> None:
    handler.say(describe(handler.seen.image) + AGAIN)


def _kill_in_the_middle(load: Load, pictures: int) -> None:
    daemon = load.start()
    asked = load.asked
    daemon.until(lambda: load.asked > asked + pictures // 5)
    daemon.process.kill()
    daemon.process.wait()


def _until_done(load: Load, daemon: Process) -> None:
    lists = load.place.root / "state/redo"
    while any(lists.glob("*.json")):
        seen = load.asked
        daemon.until(lambda: load.asked > seen or not any(lists.glob("*.json")))  # noqa: B023


def _bytes_of(load: Load, name: str) -> bytes:
    picture = load.place.done / name
    sidecar = picture.with_name(f"{name}.caption.json")
    return hashlib.sha256(picture.read_bytes() + sidecar.read_bytes()).digest()


def _check(load: Load, name: str, *, is_edited: bool) -> None:
    record: dict[str, Any] = json.loads((load.place.done / f"{name}.caption.json").read_bytes())
    image = (load.place.done / name).read_bytes()
    assert record["published"]["sha256"] == hashlib.sha256(image).hexdigest(), name
    assert record["caption"].encode() in image, name
    assert len(record["history"]) == 1, name
    if not is_edited:
        assert record["caption"] == load.captions[name] + AGAIN, name
