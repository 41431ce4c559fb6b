"""Promises about texts that wait for approval: nothing is written before it, or left by an undo."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from delivery_world import (
    LATER,
    MOVES,
    NEW_WORDS,
    WORDS,
    World,
    embed_beside,
    record_for,
    users_files,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from captiond.delivery import Changed, Delivery, moves
from captiond.errors import NotThere, TryLater
from captiond.metadata.describing import Describing
from captiond.records import Describe, Described, Texts
from captiond.sidecar import Record
from captiond.sidecar.former_files import MOST_BYTES, former_of, formers_of, keys_of
from captiond.sidecar.rewriting import NotWaiting, accepted, approved, redone, undone
from captiond.sidecar.schema import json_schema

PATH = "trip/photo.jpg"
FILES = {
    f"{PATH}.xmp": b"<x/>",
    "trip/photo.AAE": b"an edit",
    f"{PATH}.json": b"{}",
}
DESCRIPTION = 0x010E


class Crash(BaseException):
    """The end of the process."""


@pytest.fixture(params=[*MOVES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A world in which a picture with files beside it waits for approval."""
    world = World.at(tmp_path, move=MOVES[request.param], embed=embed_beside, awaits_approval=True)
    world.drop(PATH)
    os.utime(world.inbox / PATH, ns=(1, 1_234_567_890_123_456_789))
    for path, data in FILES.items():
        world.drop_beside(path, data)
    with world.opened() as delivery:
        world.caption(delivery, world.settled(PATH))
    return world


def told(world: World, path: str = PATH) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((world.done / f"{path}.caption.json").read_bytes())
    Draft202012Validator(json_schema()).validate(record)
    return record


def approve(delivery: Delivery, path: str = PATH, by: str | None = "Ada") -> None:
    delivery.rewrite(path, lambda record: approved(record, LATER, by), LATER)


def undo(delivery: Delivery, path: str = PATH) -> None:
    delivery.rewrite(path, undone, LATER)


def must_be_as_dropped(world: World) -> None:
    """Every file of the user's, to the last byte, and none besides but the sidecar."""
    there = {path: (world.done / path).read_bytes() for path in users_files(world.done)}
    record = told(world)
    assert there.pop(f"{PATH}.caption.json")
    assert there == {PATH: b"a picture", **FILES}
    assert record["approval"] == {"state": "waiting"} and record["written"] == []
    assert record["published"]["sha256"] == record["source"]["sha256"]
    assert {one["action"] for one in record["companions"]} == {"moved"} and "before_approval" not in record
    world.check_quiet()


def must_say(world: World, words: str) -> None:
    """In the picture, in what came along, and in what was made."""
    assert (world.done / PATH).read_bytes() == b"a picture\0" + words.encode()
    assert (world.done / f"{PATH}.xmp").read_bytes() == b"<x/>\0" + words.encode()
    assert (world.done / "trip/photo.txt").read_bytes() == words.encode()
    assert told(world)["caption"] == words
    world.check_quiet()


def test_what_waits_is_delivered_to_the_last_byte(world: World) -> None:
    """The picture and all beside it; only the sidecar says the words."""
    must_be_as_dropped(world)
    assert told(world)["caption"] == WORDS


def test_approval_writes_everywhere_and_says_by_whom(world: World) -> None:
    """Like an ordinary delivery: also a file that is made; time and permissions of the picture stay."""
    with world.opened() as delivery:
        approve(delivery)
    must_say(world, WORDS)
    by = {"at": "2026-11-24T18:30:00Z", "by": "Ada"}
    assert told(world)["approval"] == {"state": "approved", **by} and "accepted" not in told(world)
    (entry,) = told(world)["history"]
    assert entry["why"] == "approve" and entry["approval"] == {"state": "waiting"}
    assert (world.done / PATH).stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_accepting_what_waits_approves_it(world: World) -> None:
    """A person has looked; if it needed a look, it needs none any more, and undo brings that back."""
    record = world.done / f"{PATH}.caption.json"
    record.write_text(json.dumps(told(world) | {"needs_look": True}))
    with world.opened() as delivery:
        delivery.rewrite(PATH, lambda record: accepted(record, LATER, "Ada"), LATER)
        must_say(world, WORDS)
        assert told(world)["accepted"]["by"] == told(world)["approval"]["by"] == "Ada"
        assert "needs_look" not in told(world)
        undo(delivery)
    must_be_as_dropped(world)
    assert told(world)["needs_look"] is True and "accepted" not in told(world)


def test_an_edit_of_what_waits_is_an_approval(world: World) -> None:
    """The person has seen the words; undo has the model's wait again."""
    with world.opened() as delivery:
        delivery.edit(PATH, NEW_WORDS, LATER, by="Ada")
        must_say(world, NEW_WORDS)
        assert told(world)["approval"]["state"] == "approved" and told(world)["edited"]["by"] == "Ada"
        undo(delivery)
    must_be_as_dropped(world)
    assert told(world)["caption"] == WORDS and "edited" not in told(world)


def test_undo_goes_back_step_by_step_to_the_very_bytes(world: World) -> None:
    """However often the texts were changed after the approval, and where the picture lies by then."""
    with world.opened() as delivery:
        approve(delivery)
        delivery.edit(PATH, NEW_WORDS, LATER)
        delivery.edit(PATH, "Rex.", LATER)
        must_say(world, "Rex.")
        undo(delivery)
        must_say(world, NEW_WORDS)
        undo(delivery)
        must_say(world, WORDS)
        undo(delivery)
        must_be_as_dropped(world)
        with pytest.raises(TryLater, match="nothing was changed"):
            undo(delivery)
        approve(delivery)
    must_say(world, WORDS)


def test_an_approved_picture_that_was_moved_can_be_undone(world: World) -> None:
    """With all that lies beside it, under another name in another folder of done/."""
    with world.opened() as delivery:
        approve(delivery)
        (world.done / "best").mkdir()
        for file in (world.done / "trip").iterdir():
            file.rename(world.done / "best" / file.name.replace("photo", "rex"))
        undo(delivery, "best/rex.jpg")
    there = {path: (world.done / path).read_bytes() for path in users_files(world.done)}
    assert there.pop("best/rex.jpg.caption.json")
    name = "best/rex{}"
    assert there == {
        name.format(".jpg"): b"a picture",
        **{name.format(path.removeprefix(PATH[:-4])): data for path, data in FILES.items()},
    }


def redo(delivery: Delivery, words: str) -> Record:
    texts = Texts(words)
    return delivery.rewrite(PATH, lambda record: redone(record, texts, record.rest, LATER), LATER)[1]


def test_a_redo_of_what_waits_keeps_it_waiting(world: World) -> None:
    """The new texts stand in the sidecar alone; undo brings back the former, which wait as well."""
    with world.opened() as delivery:
        redo(delivery, NEW_WORDS)
        must_be_as_dropped(world)
        assert told(world)["caption"] == NEW_WORDS
        undo(delivery)
        must_be_as_dropped(world)
        assert told(world)["caption"] == WORDS
        redo(delivery, NEW_WORDS)
        approve(delivery)
    must_say(world, NEW_WORDS)


def test_a_redo_of_what_was_approved_waits_anew(world: World) -> None:
    """Nobody has approved the new texts: the picture is as dropped; undo writes the old ones again."""
    with world.opened() as delivery:
        approve(delivery)
        redo(delivery, NEW_WORDS)
        must_be_as_dropped(world)
        assert told(world)["caption"] == NEW_WORDS
        undo(delivery)
        must_say(world, WORDS)
        assert told(world)["approval"]["by"] == "Ada"
        undo(delivery)
    must_be_as_dropped(world)


def test_without_a_way_back_a_redo_writes_and_nobody_has_approved_it(world: World) -> None:
    """If the record does not know how the picture was, the texts do not wait; it claims no approval."""
    with world.opened() as delivery:
        approve(delivery)
        record = told(world)
        del record["before_approval"]
        (world.done / f"{PATH}.caption.json").write_text(json.dumps(record))
        with pytest.raises(TryLater, match="before its texts were approved"):
            undo(delivery)
        redo(delivery, NEW_WORDS)
    assert "approval" not in told(world)
    must_say(world, NEW_WORDS)


def test_what_does_not_wait_is_not_approved(world: World) -> None:
    """An approval of what was approved, or never waited, is refused and changes nothing."""
    with world.opened() as delivery:
        approve(delivery)
        before = told(world)
        with pytest.raises(NotWaiting):
            approve(delivery, by="Ben")
    assert told(world) == before
    must_say(world, WORDS)


def test_a_picture_that_changed_or_went_is_refused(world: World) -> None:
    """As an edit refuses it: what another program wrote stays, and the texts wait on."""
    (world.done / PATH).write_bytes(b"retouched")
    with world.opened() as delivery:
        with pytest.raises(Changed):
            approve(delivery)
        assert (world.done / PATH).read_bytes() == b"retouched" and told(world)["approval"][
            "state"
        ] == "waiting"
        (world.done / PATH).unlink()
        with pytest.raises(NotThere):
            approve(delivery)
    assert told(world)["approval"] == {"state": "waiting"}


def test_a_picture_that_a_program_writes_is_refused(world: World) -> None:
    """The exchange goes back, also for what lies beside it; nothing is left over."""
    with world.opened() as delivery, (world.done / PATH).open("r+b"), pytest.raises(Changed):
        approve(delivery)
    must_be_as_dropped(world)
    written = pytest.raises(TryLater, match="open for writing")
    with world.opened() as delivery, (world.done / f"{PATH}.xmp").open("r+b"), written:
        approve(delivery)
    must_be_as_dropped(world)


def test_a_file_that_another_program_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Neither before the approval nor in its midst; the record of the first says so."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    for name in ("a.jpg", "b.jpg"):
        world.drop(name)

    def meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        if new_name == "b.txt":
            (world.done / new_name).write_bytes(b"somebody's")
        moves.move(source, name, target, new_name)

    with world.opened(move=meanwhile) as delivery:
        for name in ("a.jpg", "b.jpg"):
            world.caption(delivery, world.settled(name))
        (world.done / "a.txt").write_bytes(b"somebody's")
        for name in ("a.jpg", "b.jpg"):
            approve(delivery, name)
            assert (world.done / name).read_bytes() == b"a picture\0" + WORDS.encode()
        for name in ("a.jpg", "b.jpg"):
            undo(delivery, name)
            assert (world.done / name).read_bytes() == b"a picture"
    for name in ("a.txt", "b.txt"):
        assert (world.done / name).read_bytes() == b"somebody's"


def test_what_somebody_changed_beside_it_survives_an_undo(world: World) -> None:
    """A file that says something else by then is theirs, whether it came along or was made."""
    with world.opened() as delivery:
        approve(delivery)
        xmp, text = world.done / f"{PATH}.xmp", world.done / "trip/photo.txt"
        xmp.write_bytes(b"developed anew")
        text.write_bytes(b"my words")
        undo(delivery)
    assert (xmp.read_bytes(), text.read_bytes()) == (b"developed anew", b"my words")
    assert (world.done / PATH).read_bytes() == b"a picture"


def test_a_made_file_that_changes_as_it_is_taken_away_stays(tmp_path: Path) -> None:
    """At the last moment, too: what was taken is looked at, and goes back."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    world.drop("a.jpg")
    with world.opened() as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        approve(delivery, "a.jpg")

    def changed_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        moves.exchange(source, name, target, new_name)
        if new_name == "a.jpg":
            with (world.done / "a.txt").open("ab") as file:
                file.write(b" my words")

    with world.opened(exchange=changed_meanwhile) as delivery:
        undo(delivery, "a.jpg")
    assert (world.done / "a.txt").read_bytes() == WORDS.encode() + b" my words"
    assert sorted(users_files(world.done)) == ["a.jpg", "a.jpg.caption.json", "a.txt"]


@pytest.mark.parametrize("act", [approve, undo])
def test_a_crash_in_its_midst_is_brought_to_an_end(act: Any, tmp_path: Path) -> None:
    """After the image was exchanged, the next start does the rest; everything agrees then."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    world.drop("a.jpg")
    with world.opened() as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        if act is undo:
            approve(delivery, "a.jpg")

    def crashing(source: int, name: str, target: int, new_name: str) -> None:
        moves.exchange(source, name, target, new_name)
        raise Crash

    with pytest.raises(Crash), world.opened(exchange=crashing) as delivery:
        act(delivery, "a.jpg")
    with world.opened() as delivery:
        delivery.recover()
    state = told(world, "a.jpg")["approval"]["state"]
    assert state == ("approved" if act is approve else "waiting")
    assert (world.done / "a.txt").exists() == (act is approve)
    world.check_quiet()


def test_a_crash_of_the_delivery_keeps_the_decision(tmp_path: Path) -> None:
    """It stands in the record: whatever the settings say by then, and if the image is made anew."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    world.drop("a.jpg")
    world.drop_beside("a.jpg.xmp", b"<x/>")

    def crashing(source: int, name: str, target: int, new_name: str) -> None:
        raise Crash

    with pytest.raises(Crash), world.opened(move=crashing) as delivery:
        world.caption(delivery, world.settled("a.jpg"))
    (image,) = (world.done / ".captiond").glob("*.img")
    image.write_bytes(b"torn")
    with world.opened(approve="never") as delivery:
        delivery.recover()
    assert (world.done / "a.jpg").read_bytes() == b"a picture"
    assert (world.done / "a.jpg.xmp").read_bytes() == b"<x/>"
    assert told(world, "a.jpg")["approval"] == {"state": "waiting"} and world.asked == 1
    world.check_quiet()


def test_a_companion_that_changes_meanwhile_changes_no_decision(tmp_path: Path) -> None:
    """Between the claim and the delivery: it travels as it is then."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    world.drop("a.jpg")
    world.drop_beside("a.jpg.xmp", b"<x/>")
    with world.opened() as delivery:
        job = world.claim(delivery, world.settled("a.jpg"))
        world.drop_beside("a.jpg.xmp", b"<y/>")
        world.publish(delivery, job)
    assert (world.done / "a.jpg.xmp").read_bytes() == b"<y/>"
    assert not (world.done / "a.txt").exists()
    world.check_quiet()


@pytest.mark.parametrize("is_approved", [False, True])
def test_the_same_file_again_is_no_news(is_approved: bool, tmp_path: Path) -> None:
    """A duplicate of what waits, or was approved, is taken away; approval does not make it new."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)

    def drop() -> None:
        world.drop("a.jpg")
        world.drop_beside("a.jpg.xmp", b"<x/>")

    drop()
    with world.opened(skips_duplicates=True) as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        if is_approved:
            approve(delivery, "a.jpg")
        before = told(world, "a.jpg")
        drop()
        world.caption(delivery, world.settled("a.jpg"))
    assert world.asked == 1 and users_files(world.inbox) == []
    assert told(world, "a.jpg") == before
    world.check_quiet()


def test_an_approval_before_the_commit_was_marked_doubles_nothing(tmp_path: Path) -> None:
    """A crash between the sidecar's appearance and the mark, an approval, and then the next start."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    settled = world.drop("a.jpg")
    with world.opened() as delivery:
        rename, job = os.rename, world.claim(delivery, settled)

        def crashing(source: Any, target: Any, **folders: Any) -> None:
            if str(target).endswith(".delivered"):
                raise Crash
            rename(source, target, **folders)

        with pytest.MonkeyPatch.context() as patched, pytest.raises(Crash):
            patched.setattr(os, "rename", crashing)
            world.publish(delivery, job)
    with world.opened() as delivery:
        approve(delivery, "a.jpg")
        delivery.recover()
    assert sorted(users_files(world.done)) == ["a.jpg", "a.jpg.caption.json", "a.txt"]
    world.check_quiet()


def test_a_neighbours_file_is_not_written_into(tmp_path: Path) -> None:
    """`a.xmp` that came with a.jpg is not a.png's, although it could be by its name."""
    world = World.at(tmp_path, embed=embed_beside, awaits_approval=True)
    world.drop("a.jpg", b"one")
    world.drop_beside("a.xmp", b"<x/>")
    with world.opened() as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        world.drop("a.png", b"another")
        world.caption(delivery, world.settled("a.png"))
        approve(delivery, "a.png")
        assert (world.done / "a.xmp").read_bytes() == b"<x/>"
        approve(delivery, "a.jpg")
    assert (world.done / "a.xmp").read_bytes() == b"<x/>\0" + WORDS.encode()


def jpeg(description: str | None = None) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    if description is not None:
        exif[DESCRIPTION] = description
    Image.effect_noise((60, 40), 50).convert("RGB").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(buffer, format)
    return buffer.getvalue()


def delivered(tmp_path: Path, data: bytes, describe: Describe, format: str = "JPEG") -> World:
    """A world in which a real picture waits for approval."""
    world = World.at(tmp_path, embed=describe, awaits_approval=True)
    settled = world.drop("a.jpg", data)
    with world.opened() as delivery:
        job = world.claim(delivery, settled)
        described = Described.untouched(data)
        record = record_for(job, described, awaits_approval=True)
        delivery.publish(job, described, replace(record, source=replace(record.source, format=format)))
    return world


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_real_picture_comes_back_to_its_very_bytes(format: str, tmp_path: Path) -> None:
    """Whatever the format does with a text: in the picture, or in an .xmp that is made and goes again."""
    data = encoded(format)
    describe = Describing(replaces=False, blocks="auto", place=None, xmp="auto", text="caption")
    world = delivered(tmp_path, data, describe, format)
    with world.opened() as delivery:
        approve(delivery, "a.jpg")
        assert WORDS.encode() in b"".join(
            (world.done / name).read_bytes()
            for name in ("a.jpg", "a.jpg.xmp")
            if (world.done / name).exists()
        )
        assert (world.done / "a.txt").read_text() == f"{WORDS}\n"
        assert len(json.dumps(told(world, "a.jpg")["before_approval"])) < 4000
        delivery.edit("a.jpg", NEW_WORDS, LATER)
        undo(delivery, "a.jpg")
        undo(delivery, "a.jpg")
    assert (world.done / "a.jpg").read_bytes() == data
    assert sorted(users_files(world.done)) == ["a.jpg", "a.jpg.caption.json"]


@pytest.mark.parametrize("replaces", [False, True])
def test_a_persons_description_is_heeded_on_approval(replaces: bool, tmp_path: Path) -> None:
    """`keep` holds as in a delivery, by what the picture says then; `replace` keeps that in the JSON."""
    data = jpeg("Rex at home")
    describe = Describing(replaces=replaces, blocks="auto", place=None, xmp="always", text=None)
    world = delivered(tmp_path, data, describe)
    with world.opened() as delivery:
        approve(delivery, "a.jpg")
        with Image.open(world.done / "a.jpg") as image:
            assert image.getexif()[DESCRIPTION] == (WORDS if replaces else "Rex at home")
        assert told(world, "a.jpg").get("previous_description") == ("Rex at home" if replaces else None)
        assert (world.done / "a.jpg.xmp").exists() == replaces
        undo(delivery, "a.jpg")
    assert (world.done / "a.jpg").read_bytes() == data
    assert "previous_description" not in told(world, "a.jpg")


@given(st.binary(max_size=3000), st.binary(max_size=400), st.integers(0, 3000), st.integers(0, 400))
def test_the_way_back_leads_to_the_same_bytes(former: bytes, new: bytes, at: int, gone: int) -> None:
    """Whatever was inserted or replaced; and what is not the present file is not believed."""
    present = former[:at] + new + former[at + gone :]
    way = former_of("", False, former, present)
    assert way is not None
    (read,) = formers_of(json.loads(json.dumps({"before_approval": keys_of([way])})))
    assert read == way and read.restored(present) == former
    if present + b"!" != former:
        assert read.restored(b"!" + present) in (None, former)


def test_a_way_back_that_is_too_long_is_not_kept() -> None:
    """A file that has nothing of the former one cannot lead back to it."""
    former = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(MOST_BYTES // 16))
    assert former_of("", False, former, b"\0" * len(former)) is None
    assert former_of("", False, former, former[:100] + b"words" + former[100:]) is not None


@pytest.mark.parametrize(
    "forged",
    [
        "no list",
        [{"suffix": "/../../etc", "on_stem": False, "sha256": "0" * 64, "parts": []}],
        [{"suffix": "", "on_stem": False, "made": "0" * 64}],
        [{"suffix": "", "sha256": "0" * 64, "parts": [[0, 1 << 62]] * 50}],
        [{"suffix": "", "sha256": "0" * 64, "parts": [[-9, 9], [True, 1], "%%%"]}],
        [{"suffix": "", "sha256": "no", "parts": [[0, 9]]}],
        [{"suffix": "", "sha256": "0" * 64, "parts": 7}],
    ],
)
def test_a_forged_way_back_does_nothing(forged: Any, world: World) -> None:
    """A record is data: whatever it says of former files, an undo is refused and all stays."""
    with world.opened() as delivery:
        approve(delivery)
        record = told(world) | {"before_approval": forged}
        (world.done / f"{PATH}.caption.json").write_text(json.dumps(record))
        with pytest.raises(TryLater):
            undo(delivery)
        delivery.edit(PATH, NEW_WORDS, LATER + timedelta(hours=1))
    assert (world.done / PATH).read_bytes() == b"a picture\0" + NEW_WORDS.encode()


def test_a_forged_way_back_takes_no_other_file(world: World) -> None:
    """Whatever the record says of its neighbours: they are no files that texts are written into."""
    neighbour = world.done / "trip/photo.png"
    neighbour.write_bytes(b"another picture")
    made = {"on_stem": True, "made": hashlib.sha256(neighbour.read_bytes()).hexdigest()}
    with world.opened() as delivery:
        approve(delivery)
        record = told(world)
        record["before_approval"] += [{"suffix": ".png", **made}, {"suffix": ".png/../photo.txt", **made}]
        (world.done / f"{PATH}.caption.json").write_text(json.dumps(record))
        undo(delivery)
    assert neighbour.read_bytes() == b"another picture"
