"""What becomes of a library's pictures, by the rooms as the settings build them."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from captiond.delivery import Delivery
from captiond.libraries import MARKER, placing
from captiond.libraries.index import forget_failure
from captiond.pictures.pool import Decoders
from captiond.records import Delivered, Job, SettledFile
from libraries.library_world import World, drawn, said


@pytest.fixture
def world(tmp_path: Path, decoders: Decoders) -> World:
    return World(tmp_path, decoders)


@pytest.fixture
def mirrored(tmp_path: Path, decoders: Decoders) -> World:
    """Marked in its mirror, as one that cannot be written is."""
    made = World(tmp_path, decoders, is_marked=False, sidecars=str(tmp_path / "mirror"))
    made.mirror.mkdir()
    (made.mirror / MARKER).write_text("")
    return made


def test_pictures_are_described_where_they_lie_and_once(world: World) -> None:
    """Sidecars appear beside them; no picture changes; a second run asks nothing, nor one without state."""
    names = {"a.png": 20, "trip/b.png": 21, "trip/far/c.png": 22}
    for name, width in names.items():
        world.put(name, width)
    assert world.serve() == [20, 21, 22]
    for name, width in names.items():
        told = world.sidecar(name)
        assert told["caption"] == said(width)
        assert told["source"]["path"] == name
        assert told["published"]["sha256"] == told["source"]["sha256"]
        assert told["library"]["name"] == "photos"
        assert said(width) in (world.root / f"{name}.xmp").read_text()
    assert {one.path for one in world.told} == {f"photos/{name}" for name in names}
    assert {one.library for one in world.told} == {"photos"}
    assert world.serve() == []
    world.forget_state()
    assert world.serve() == []
    assert world.status is not None
    assert (world.status.pictures, world.status.described, world.status.left_behind) == (3, 3, 0)


def test_a_mirror_leaves_the_library_as_it_was(mirrored: World) -> None:
    """With `sidecars` everything goes to the same path in another folder, and no folder's time changes."""
    mirrored.put("trip/a.png", 20)
    folder = mirrored.root / "trip"
    before = sorted(mirrored.root.rglob("*")), folder.stat().st_mtime_ns
    assert mirrored.serve() == [20]
    assert (sorted(mirrored.root.rglob("*")), folder.stat().st_mtime_ns) == before
    assert mirrored.sidecar("trip/a.png")["caption"] == said(20)
    assert said(20) in (mirrored.mirror / "trip" / "a.png.xmp").read_text()
    assert mirrored.serve() == []
    mirrored.forget_state()
    assert mirrored.serve() == []


def test_a_mirror_keeps_up_with_changes(mirrored: World) -> None:
    """A changed picture's words take the place of ours in the mirror, too."""
    mirrored.put("a.png", 20)
    mirrored.serve()
    mirrored.put("a.png", 30)
    assert mirrored.serve() == [30]
    xmp = (mirrored.mirror / "a.png.xmp").read_text()
    assert said(30) in xmp and said(20) not in xmp


def test_only_the_json_is_written_if_nothing_else_is_asked_for(tmp_path: Path, decoders: Decoders) -> None:
    """`write: [json]` makes no .xmp."""
    world = World(tmp_path, decoders, write=["json"])
    world.put("a.png", 20)
    assert world.serve() == [20]
    assert sorted(path.name for path in world.root.iterdir()) == [MARKER, "a.png", "a.png.caption.json"]


def test_what_lay_there_before_is_described_only_if_asked_for(tmp_path: Path, decoders: Decoders) -> None:
    """`existing: false` describes what comes later, whatever its time says; `existing: true` all of it."""
    world = World(tmp_path, decoders, existing=False)
    world.put("old.png", 20)
    _tick(world.root)
    marker = world.root / MARKER
    marker.unlink()
    marker.write_text("")
    _tick(world.root)
    world.put("new.png", 21)
    assert world.serve() == [21]
    world.forget_state()
    assert world.serve() == []
    world.put("old.png", 22)  # a new content comes later
    assert world.serve() == [22]
    world.library["existing"] = True
    world.put("older.png", 23)
    assert world.serve() == [23]


def _tick(folder: Path) -> None:
    """Until the file system's clock has moved on: two files of one tick cannot be told apart."""
    probe = folder.parent / "probe"
    probe.write_text("")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        time.sleep(0.001)
        probe.chmod(0o644)


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_renamed_picture_costs_no_question(world: World, keeps_state: bool) -> None:
    """It is known by its content, with the index or without; what it left behind stays and is counted."""
    world.put("a.png", 20)
    world.serve()
    world.rename("a.png", "moved/b.png")
    if not keeps_state:
        world.forget_state()
    assert world.serve() == []
    told = world.sidecar("moved/b.png")
    assert (told["caption"], told["source"]["path"]) == (said(20), "moved/b.png")
    assert said(20) in (world.root / "moved" / "b.png.xmp").read_text()
    assert (world.root / "a.png.caption.json").exists()
    assert world.serve() == []
    assert world.status is not None
    assert (world.status.pictures, world.status.described, world.status.left_behind) == (1, 1, 1)


def test_a_copy_does_not_get_a_persons_words(world: World) -> None:
    """The same bytes under a second name cost no question; what a person wrote is that picture's alone."""
    world.put("a.png", 20)
    world.serve()
    world.put("copy.png", 20)
    assert world.serve() == []
    _edit(world, "a.png", "Aunt May's wall.")
    _edit(world, "copy.png", "Another wall.")
    world.put("third.png", 20)
    assert world.serve() == [20]
    assert world.sidecar("third.png")["caption"] == said(20)


def _edit(world: World, name: str, caption: str) -> None:
    told = world.sidecar(name)
    edited = {"at": "2026-11-29T10:00:00Z", "model_caption": told["caption"]}
    world.record(name).write_text(json.dumps({**told, "caption": caption, "edited": edited}))


def test_a_changed_picture_is_described_anew_unless_a_person_edited(world: World) -> None:
    """Our own words make way, also in the .xmp; a person's stay."""
    world.put("ours.png", 20)
    world.put("theirs.png", 21)
    world.serve()
    _edit(world, "theirs.png", "Aunt May.")
    world.put("ours.png", 30)
    world.put("theirs.png", 31)
    assert world.serve() == [30]
    assert world.sidecar("ours.png")["caption"] == said(30)
    xmp = (world.root / "ours.png.xmp").read_text()
    assert said(30) in xmp and said(20) not in xmp
    assert world.sidecar("theirs.png")["caption"] == "Aunt May."
    assert world.serve() == []


def test_other_questions_are_asked_anew(world: World) -> None:
    """Done is a sidecar with these questions: another prompt asks once more, and the same never."""
    world.put("a.png", 20)
    world.serve()
    world.settings["caption"] = {"prompt": "What is this?"}
    assert world.serve() == [20]
    assert world.teller.asked[-1] == (20, "What is this?")
    assert world.serve() == []
    world.settings["fields"] = {"wanted": ["caption", "title"]}
    world.serve()
    assert world.sidecar("a.png")["fields"]["title"]
    assert world.serve() == []


def test_a_sidecar_that_is_gone_or_torn_is_made_anew(world: World) -> None:
    """The sidecar is the truth, the index only faster; half a record is somebody's and not replaced."""
    world.put("gone.png", 20)
    world.put("torn.png", 21)
    world.serve()
    world.record("gone.png").unlink()
    (world.root / "gone.png.xmp").unlink()
    world.record("torn.png").write_text("{")
    assert world.serve() == [20]
    assert world.sidecar("gone.png")["caption"] == said(20)
    assert world.record("torn.png").read_text() == "{"
    assert world.status is not None and world.status.failed == 1


_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4">{}</rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_DESCRIPTION = (
    '<dc:description xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt>'
    '<rdf:li xml:lang="x-default">My dog.</rdf:li></rdf:Alt></dc:description>'
)


@pytest.mark.parametrize("name", ["a.png.xmp", "a.xmp"])
def test_an_xmp_that_is_there_is_merged(world: World, name: str) -> None:
    """A rating stays beside our words, in the file where it stood."""
    world.put("a.png", 20)
    (world.root / name).write_text(_XMP.format(""))
    assert world.serve() == [20]
    merged = (world.root / name).read_text()
    assert 'xmp:Rating="4"' in merged and said(20) in merged
    assert len(list(world.root.glob("*.xmp"))) == 1


def test_a_persons_words_in_an_xmp_stay(world: World) -> None:
    """Where a person has described the picture, no .xmp receives ours; the JSON says both."""
    world.put("a.png", 20)
    (world.root / "a.png.xmp").write_text(_XMP.format(_DESCRIPTION))
    assert world.serve() == [20]
    assert (world.root / "a.png.xmp").read_text() == _XMP.format(_DESCRIPTION)
    kept = {"target": "xmp-sidecar:dc:description", "action": "kept", "reason": "kept existing description"}
    assert kept in world.sidecar("a.png")["written"]
    assert world.serve() == []


def test_an_xmp_of_two_pictures_is_left_alone(world: World) -> None:
    """`a.xmp` beside a.png and a.NEF may be the other one's."""
    world.put("a.png", 20)
    (world.root / "a.NEF").write_bytes(b"raw")
    (world.root / "a.xmp").write_text(_XMP.format(""))
    assert world.serve() == [20]
    assert (world.root / "a.xmp").read_text() == _XMP.format("")
    assert said(20) in (world.root / "a.png.xmp").read_text()


def test_a_persons_words_beside_a_mirrored_picture_count(mirrored: World) -> None:
    """What is to be respected lies beside the picture; what is merged of it goes into the mirror."""
    mirrored.put("a.png", 20)
    mirrored.put("b.png", 21)
    (mirrored.root / "a.png.xmp").write_text(_XMP.format(_DESCRIPTION))
    (mirrored.root / "b.png.xmp").write_text(_XMP.format(""))
    assert mirrored.serve() == [20, 21]
    assert not (mirrored.mirror / "a.png.xmp").exists()
    assert (mirrored.root / "b.png.xmp").read_text() == _XMP.format("")
    merged = (mirrored.mirror / "b.png.xmp").read_text()
    assert 'xmp:Rating="4"' in merged and said(21) in merged


def test_nothing_that_is_not_ours_is_replaced(world: World) -> None:
    """Another program's file with the name of our sidecar stays, and the picture fails and says why."""
    world.put("a.png", 20)
    other = world.record("a.png")
    other.write_text('{"mine": true}')
    assert world.serve() == []
    assert other.read_text() == '{"mine": true}'
    assert [one.kind for one in world.told] == ["gave_up"]
    other.unlink()
    assert world.serve() == [20]


def test_links_are_not_followed(world: World) -> None:
    """A link in place of a sidecar, or of a picture, leads nowhere."""
    outside = world.top / "outside.json"
    outside.write_text("theirs")
    world.put("a.png", 20)
    world.record("a.png").symlink_to(outside)
    (world.root / "b.png").symlink_to(world.root / "a.png")
    assert world.serve() == []
    assert outside.read_text() == "theirs"
    assert world.record("a.png").is_symlink() and not world.record("b.png").exists()


def test_a_failure_stays_where_it_lies_and_is_tried_again_when_asked(world: World) -> None:
    """What cannot be read is kept in the state folder until it changes or somebody asks for it."""
    broken = world.root / "broken.png"
    broken.write_bytes(drawn(20)[:40] + bytes(60) + drawn(20)[-12:])
    world.serve()
    assert [one.folder for one in world.told] == ["failed"]
    assert broken.exists() and list((world.top / "failed").glob("*")) == [world.top / "failed" / ".captiond"]
    world.serve()
    assert len(world.told) == 1
    assert forget_failure(world.top / "state", "photos", "broken.png")
    world.serve()
    assert len(world.told) == 2
    world.put("broken.png", 21)
    assert world.serve() == [21]
    assert world.status is not None and (world.status.failed, world.status.described) == (0, 1)


def test_an_unmarked_library_is_away_and_nothing_is_written_into_it(world: World) -> None:
    """Without its marker it is unavailable, and never empty."""
    world.put("a.png", 20)
    (world.root / MARKER).unlink()
    assert world.serve() == []
    assert world.status is not None and world.status.state == "unavailable"
    assert MARKER in (world.status.reason or "")
    assert [path.name for path in world.root.iterdir()] == ["a.png"]


def test_a_mirrored_library_whose_pictures_are_all_gone_is_away(mirrored: World) -> None:
    """Where the marker lies with the sidecars, everything gone at once is a lost mount."""
    mirrored.put("a.png", 20)
    mirrored.serve()
    elsewhere = mirrored.top / "elsewhere"
    mirrored.root.rename(elsewhere)
    mirrored.root.mkdir()
    before, mirrored.before = mirrored.before, {}
    assert mirrored.serve() == []
    assert mirrored.status is not None and mirrored.status.state == "unavailable"
    assert mirrored.record("a.png").exists()
    mirrored.root.rmdir()
    elsewhere.rename(mirrored.root)
    mirrored.before = before
    assert mirrored.serve() == []
    assert (mirrored.status.state, mirrored.status.described) == ("watching", 1)


def test_profiles_and_patterns_see_the_librarys_name_before_the_path(world: World) -> None:
    """`photos/**` is the library `photos`; what a profile or a pattern leaves out is left out."""
    for width, name in enumerate(("a.png", "private/b.png", "drafts/c.png"), 20):
        world.put(name, width)
    world.settings["watch"]["ignore"] = ["photos/drafts/"]
    world.settings["profiles"] = [
        {"match": "photos/private/**", "skip": True},
        {"match": "photos/**", "caption": {"prompt": "Say what this is."}},
    ]
    assert world.serve() == [20]
    assert world.teller.asked == [(20, "Say what this is.")]
    assert world.sidecar("a.png")["profile"] == "photos/**"


def test_what_is_dropped_waits_for_one_picture_of_a_library_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that was decoded ahead, none begins to ask once a picture of the inbox is on its way."""
    world.teller.capacity = 1
    for width in range(20, 40):
        world.put(f"{width}.png", width)
    order: list[int] = []
    begun_at_claim: list[int] = []
    claim = Delivery.claim

    def slow(width: int) -> None:
        order.append(width)
        if len(order) == 3:
            (world.top / "inbox" / "dropped.png").write_bytes(drawn(99))
        time.sleep(0.05)

    def noted(self: Delivery, settled: SettledFile) -> Job | Delivered:
        begun_at_claim.append(len(order))
        return claim(self, settled)

    monkeypatch.setattr(Delivery, "claim", noted)
    world.teller.before = slow
    world.serve()
    assert order.index(99) - begun_at_claim[0] <= 1
    assert len(order) == 21


def test_an_xmp_that_changes_in_the_middle_keeps_what_was_written_into_it(world: World) -> None:
    """Whoever writes into the .xmp while the model answers loses nothing: the words are laid into it anew."""
    world.put("a.png", 20)
    xmp = world.root / "a.png.xmp"
    xmp.write_text(_XMP.format(""))

    def rate(_: int) -> None:
        time.sleep(0.05)
        xmp.write_text(_XMP.format("").replace('Rating="4"', 'Rating="5"'))
        time.sleep(0.1)  # longer than it takes to settle

    world.teller.before = rate
    assert world.serve() == [20]
    merged = xmp.read_text()
    assert 'xmp:Rating="5"' in merged and said(20) in merged


def test_a_library_that_cannot_be_written_waits_and_asks_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk makes its library wait: nobody is charged, and only what was in flight was asked about."""
    for width in range(20, 60):
        world.put(f"{width}.png", width)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(placing, "write", full)
        assert len(world.serve()) <= 16
    assert world.status is not None and world.status.state == "unavailable"
    assert "space" in (world.status.reason or "") + (world.status.advice or "")
    assert world.told == []
    world.serve()
    assert world.status.described == 40 and {one.attempts for one in world.told} == {1}
