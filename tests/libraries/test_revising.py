"""Other texts for pictures of a library: what changes, what stays, and what is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from captiond.delivery import Changed, Held
from captiond.errors import LibraryAway, NotThere, TryLater
from captiond.libraries import MARKER
from captiond.pictures.pool import Decoders
from captiond.records import Texts
from captiond.sidecar import Record
from captiond.sidecar.rewriting import edited, undone
from captiond.sidecar.schema import json_schema
from libraries.library_world import World, said

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
NAME = "trip/a.png"
WORDS = "Grandmother's wall."
LIGHTROOMS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def by_a_person(record: Record) -> Record:
    return edited(record, Texts(WORDS), AT)


def rewritten(world: World, revise: Any = by_a_person, name: str = NAME) -> dict[str, Any]:
    """What the sidecar says after this."""
    rooms = world.rooms()
    try:
        delivered, record = rooms.libraries["photos"].rewrite(f"photos/{name}", revise, AT)
    finally:
        rooms.attempts.close()
    world.check_untouched()
    told = world.sidecar(name)
    Draft202012Validator(json_schema()).validate(told)
    assert (delivered.path, delivered.library) == (f"photos/{name}", "photos")
    assert told["caption"] == record.caption
    return told


def xmp(world: World, name: str = NAME) -> str:
    return world.record(name).with_name(f"{Path(name).name}.xmp").read_text()


@pytest.fixture
def world(tmp_path: Path, decoders: Decoders) -> World:
    made = World(tmp_path, decoders)
    made.put(NAME, 20)
    return made


def test_a_persons_words_stand_in_sidecar_and_xmp(world: World) -> None:
    """The former ones are kept, undo brings them back, and no look through the library asks again."""
    (world.root / f"{NAME}.xmp").parent.mkdir(exist_ok=True)
    (world.root / f"{NAME}.xmp").write_text(LIGHTROOMS)
    world.serve()
    before = world.sidecar(NAME)
    told = rewritten(world)
    assert told["edited"]["model_caption"] == said(20) and told["history"][0]["caption"] == said(20)
    assert WORDS in xmp(world) and said(20) not in xmp(world) and 'xmp:Rating="4"' in xmp(world)
    assert told["library"]["xmp"]["sha256"] == hashlib.sha256(xmp(world).encode()).hexdigest()
    assert told["published"] == before["published"]
    assert world.serve() == []
    again = rewritten(world, lambda record: edited(record, Texts("Once more."), AT))
    assert (again["caption"], again["edited"]["model_caption"], len(again["history"])) == (
        "Once more.",
        said(20),
        2,
    )
    assert rewritten(world, undone)["caption"] == WORDS
    back = rewritten(world, undone)
    assert back["caption"] == said(20) and "edited" not in back and "history" not in back
    assert said(20) in xmp(world) and WORDS not in xmp(world)
    with pytest.raises(TryLater, match="nothing was changed"):
        rewritten(world, undone)
    assert world.serve() == []


def test_a_mirror_holds_what_was_edited(tmp_path: Path, decoders: Decoders) -> None:
    """The .xmp in it says the new words, and the one beside the picture stays as it is."""
    world = World(tmp_path, decoders, is_marked=False, sidecars=str(tmp_path / "mirror"))
    world.mirror.mkdir()
    (world.mirror / MARKER).write_text("")
    world.put(NAME, 20)
    theirs = world.root / f"{NAME}.xmp"
    theirs.write_text(LIGHTROOMS)
    world.serve()
    rewritten(world)
    assert WORDS in xmp(world) and said(20) not in xmp(world) and 'xmp:Rating="4"' in xmp(world)
    assert theirs.read_text() == LIGHTROOMS
    assert rewritten(world, undone)["caption"] == said(20)
    assert said(20) in xmp(world) and WORDS not in xmp(world)
    assert {path.name for path in (world.root / "trip").iterdir()} == {"a.png", "a.png.xmp"}


def test_no_new_xmp_is_made(tmp_path: Path, decoders: Decoders) -> None:
    """Where the settings want JSON alone, or the .xmp was taken away, only the sidecar changes."""
    world = World(tmp_path, decoders, write=["json"])
    world.put(NAME, 20)
    world.serve()
    assert "xmp" not in rewritten(world)["library"]
    assert not (world.root / f"{NAME}.xmp").exists()


def test_an_xmp_that_another_program_wrote_over_is_merged(world: World) -> None:
    """As when the picture is described: what it says stays, and the new words are added."""
    world.serve()
    (world.root / f"{NAME}.xmp").write_text(LIGHTROOMS)
    told = rewritten(world)
    assert told["library"]["xmp"]["merged_from"] == hashlib.sha256(LIGHTROOMS.encode()).hexdigest()
    assert WORDS in xmp(world) and 'xmp:Rating="4"' in xmp(world)
    assert rewritten(world, undone)["caption"] == said(20)


def test_an_xmp_of_others_is_left_where_none_is_wanted(tmp_path: Path, decoders: Decoders) -> None:
    """With `write: [json]` an .xmp that says none of our words stays as it is."""
    world = World(tmp_path, decoders, write=["json"])
    world.put(NAME, 20)
    world.serve()
    (world.root / f"{NAME}.xmp").write_text(LIGHTROOMS)
    assert "xmp" not in rewritten(world)["library"]
    assert xmp(world) == LIGHTROOMS


def test_what_is_not_what_was_described_is_refused(world: World) -> None:
    """Another picture, none, one without a record, a path out of the library: nothing changes."""
    world.serve()
    record = world.record(NAME).read_bytes()
    world.put("new.png", 22)
    with pytest.raises(NotThere):
        rewritten(world, name="new.png")
    for path in ("photos/gone.png", "photos/../secret.png", "photos/"):
        rooms = world.rooms()
        with pytest.raises(NotThere):
            rooms.libraries["photos"].rewrite(path, by_a_person, AT)
        with pytest.raises(NotThere):
            rooms.libraries["photos"].look(path)
        rooms.attempts.close()
    with (world.root / NAME).open("r+b"):
        rooms = world.rooms()
        with pytest.raises(Held):
            rooms.libraries["photos"].look(f"photos/{NAME}")
        rooms.attempts.close()
    world.put(NAME, 30)
    with pytest.raises(Changed):
        rewritten(world)
    (world.root / MARKER).unlink()
    with pytest.raises(LibraryAway, match="photos"):
        rewritten(world)
    assert world.record(NAME).read_bytes() == record


def test_an_xmp_that_changes_meanwhile_is_merged_anew(world: World) -> None:
    """Another program writes between our look and our exchange: its words and ours are both there."""
    world.serve()
    file = world.root / f"{NAME}.xmp"
    rated: list[bool] = []

    def revise(record: Record) -> Record:
        if not rated:
            rated.append(True)
            text = file.read_text()
            file.write_text(text.replace("<rdf:Description ", '<rdf:Description xmlns:r="r/" r:Mine="1" ', 1))
        return by_a_person(record)

    assert rewritten(world, revise)["caption"] == WORDS
    assert WORDS in xmp(world) and 'r:Mine="1"' in xmp(world)
