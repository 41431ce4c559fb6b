"""Promises about a person's caption: it takes the model's place in image and sidecar, or nothing changes."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from delivery_world import (
    LATER,
    MOVES,
    NEW_WORDS,
    WORDS,
    World,
    embed,
    embed_beside,
    no_exchange,
    record_for,
    users_files,
)
from jsonschema import Draft202012Validator

from captiond.delivery import Delivery, moves
from captiond.delivery.claims import DeliveryTrace
from captiond.errors import NotThere, Surroundings, TryLater
from captiond.history import History
from captiond.records import Described, Fingerprint, Texts, Written
from captiond.sidecar.rewriting import accepted
from captiond.sidecar.schema import json_schema
from captiond.status import Status
from captiond.web.gallery import Gallery
from captiond.web.thumbnails import Thumbnails

PATH = os.fsdecode(b"trip/\xff.jpg")


class Crash(BaseException):
    """The end of the process."""


@pytest.fixture(params=[*MOVES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A world in which one picture was captioned."""
    world = World.at(tmp_path, move=MOVES[request.param])
    with world.opened() as delivery:
        world.drop(PATH)
        (world.inbox / PATH).chmod(0o640)
        os.utime(world.inbox / PATH, ns=(1, 1_234_567_890_123_456_789))
        world.caption(delivery, world.settled(PATH))
    return world


def told(world: World) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((world.done / f"{PATH}.caption.json").read_bytes())
    return record


def unchanged(world: World) -> bool:
    """Whether the model's words stand, in both places, and nothing lies about."""
    world.check_quiet()
    return told(world)["caption"] == WORDS and "edited" not in told(world)


def test_a_persons_words_take_the_place_of_the_models(world: World) -> None:
    """In sidecar and image, which agree; the model's words, time and permissions are kept."""
    record = world.done / f"{PATH}.caption.json"
    before = told(world)
    record.write_text(json.dumps(before | {"rating": 5}))  # another program's key
    with world.opened() as delivery:
        delivered = delivery.edit(PATH, NEW_WORDS, LATER)
    after = told(world)
    assert after["caption"] == NEW_WORDS
    assert after["edited"] == {"at": "2026-11-24T18:30:00Z", "model_caption": WORDS}
    assert after["published"]["sha256"] == delivered.sha256 != before["published"]["sha256"]
    kept = before.keys() - {"caption", "published"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert after["rating"] == 5
    assert (world.done / PATH).read_bytes() == b"a picture\0" + NEW_WORDS.encode()
    status = (world.done / PATH).stat()
    assert (status.st_mtime_ns, status.st_mode & 0o777) == (1_234_567_890_123_456_789, 0o640)
    assert record.stat().st_mode & 0o777 == 0o640
    Draft202012Validator(json_schema()).validate(after)
    world.check_quiet()


def test_the_models_words_outlive_many_edits(world: World) -> None:
    """However often somebody changes their mind; and the same words again change nothing."""
    with world.opened() as delivery:
        delivery.edit(PATH, NEW_WORDS, LATER)
        delivery.edit(PATH, "Rex.", LATER)
        before = (world.done / PATH).stat(), (world.done / f"{PATH}.caption.json").stat()
        delivery.edit(PATH, "Rex.", LATER)
        assert before == ((world.done / PATH).stat(), (world.done / f"{PATH}.caption.json").stat())
    assert (told(world)["caption"], told(world)["edited"]["model_caption"]) == ("Rex.", WORDS)
    world.check_quiet()


def test_what_lies_beside_says_the_new_words_too(world: World) -> None:
    """The .xmp that came along and the .txt that was made; the sidecar tells of both as they are now."""
    world.embed = embed_beside
    world.drop("a.jpg")
    for ending, data in (("jpg.xmp", b"<x/>"), ("AAE", b"an edit")):
        world.drop_beside(f"a.{ending}", data)
    with world.opened() as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        delivery.edit("a.jpg", NEW_WORDS, LATER)
    assert (world.done / "a.jpg.xmp").read_bytes() == b"<x/>\0" + NEW_WORDS.encode()
    assert (world.done / "a.txt").read_bytes() == NEW_WORDS.encode()
    world.check_quiet()


def test_what_somebody_changes_beside_it_keeps_what_it_says(tmp_path: Path) -> None:
    """A file beside the image that is changed at the last moment is theirs; the image says the new words."""
    world = World.at(tmp_path, embed=embed_beside)

    def changed_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        file = world.done / "a.jpg.xmp"
        if new_name == file.name and file.read_bytes().endswith(WORDS.encode()):
            file.write_bytes(b"developed anew")
        moves.exchange(source, name, target, new_name)

    world.drop("a.jpg")
    world.drop_beside("a.jpg.xmp", b"<x/>")
    with world.opened(exchange=changed_meanwhile) as delivery:
        world.caption(delivery, world.settled("a.jpg"))
        delivery.edit("a.jpg", NEW_WORDS, LATER)
    assert (world.done / "a.jpg.xmp").read_bytes() == b"developed anew"
    assert (world.done / "a.jpg").read_bytes() == b"a picture\0" + NEW_WORDS.encode()
    assert sorted(users_files(world.done)) == ["a.jpg", "a.jpg.caption.json", "a.jpg.xmp", "a.txt"]


def test_an_image_that_holds_no_description_is_left_alone(world: World) -> None:
    """Its bytes and its inode stay; the sidecar says the words."""

    def skipped(data: bytes, _format: str, _caption: str, /, **_own: object) -> Described:
        return Described(data, (Written("exif:ImageDescription", "skipped", "not in these"),))

    before = Fingerprint.of((world.done / PATH).stat())
    with world.opened(describe=skipped) as delivery:
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert Fingerprint.of((world.done / PATH).stat()) == before
    assert told(world)["caption"] == NEW_WORDS and told(world)["written"][0]["action"] == "skipped"


@pytest.mark.parametrize(
    "path", ["nothing.jpg", "trip", "../inbox", ".captiond/lock", f"{PATH}.caption.json"]
)
def test_an_unknown_path_is_told(world: World, path: str) -> None:
    """Only images with a sidecar of ours can be meant, and only in done/."""
    with world.opened() as delivery, pytest.raises(NotThere):
        delivery.edit(path, NEW_WORDS, LATER)
    assert unchanged(world)


def test_a_link_is_not_followed(world: World) -> None:
    """What lies elsewhere is nobody's to change."""
    elsewhere = world.done.parent / "elsewhere"
    (world.done / PATH).rename(elsewhere)
    (world.done / PATH).symlink_to(elsewhere)
    content = elsewhere.read_bytes()
    with world.opened() as delivery, pytest.raises(NotThere):
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert elsewhere.read_bytes() == content


def test_a_changed_image_is_refused(world: World) -> None:
    """Whoever worked on the picture since keeps that work; the sidecar stays as it was."""
    (world.done / PATH).write_bytes(b"retouched")
    before = told(world)
    with world.opened() as delivery, pytest.raises(TryLater):
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert (world.done / PATH).read_bytes() == b"retouched" and told(world) == before


def test_an_image_that_somebody_writes_to_is_refused(world: World) -> None:
    """An editor that has it open may save at any moment."""
    with world.opened() as delivery:
        with (world.done / PATH).open("r+b"), pytest.raises(TryLater):
            delivery.edit(PATH, NEW_WORDS, LATER)
        assert unchanged(world)
        delivery.edit(PATH, NEW_WORDS, LATER)
    world.check_quiet()


def test_an_image_that_is_replaced_at_the_last_moment_stays(tmp_path: Path) -> None:
    """Between the last look and the exchange somebody saves another picture: theirs is not lost."""
    world = World.at(tmp_path)

    def saved_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        (tmp_path / "saved").write_bytes(b"retouched")
        (tmp_path / "saved").rename(world.done / PATH)
        moves.exchange(source, name, target, new_name)
        world_exchange.pop()

    world_exchange = [saved_meanwhile]
    with world.opened(
        exchange=lambda *names: (world_exchange[-1] if world_exchange else moves.exchange)(*names)
    ) as delivery:
        world.drop(PATH)
        world.caption(delivery, world.settled(PATH))
        before = told(world)
        with pytest.raises(TryLater):
            delivery.edit(PATH, NEW_WORDS, LATER)
    assert (world.done / PATH).read_bytes() == b"retouched" and told(world) == before
    assert len(users_files(world.done)) == 2


def test_who_looks_in_the_middle_of_an_edit_waits_for_its_end(tmp_path: Path) -> None:
    """The sidecar is away then: who describes it again, tells of it or shows it takes nothing for gone."""
    world = World.at(tmp_path)
    looks: list[Future[Any]] = []

    def looked_at_meanwhile(source: int, name: str, target: int, new_name: str) -> None:
        assert not (world.done / f"{PATH}.caption.json").exists()
        looks.append(looking.submit(delivery.look, PATH))
        looks.append(looking.submit(delivery.seen, PATH))
        looks.append(looking.submit(gallery.closely, 1))
        assert not wait(looks, timeout=0.2).done
        moves.exchange(source, name, target, new_name)

    with (
        ThreadPoolExecutor(3) as looking,
        closing(History(world.state)) as history,
        world.opened(exchange=looked_at_meanwhile) as delivery,
    ):
        gallery = gallery_of(world, history, delivery)
        world.drop(PATH)
        history.record(delivery.outcome(world.caption(delivery, world.settled(PATH))))
        assert history.flush(60)
        delivery.edit(PATH, NEW_WORDS, LATER)
        look, seen, (exhibit, record) = (one.result(30) for one in looks)
    assert (look.texts.caption, seen.caption, exhibit.caption) == (NEW_WORDS,) * 3
    assert exhibit.is_there and record["caption"] == NEW_WORDS


def gallery_of(world: World, history: History, delivery: Delivery) -> Gallery:
    """What the page shows; nothing in it is looked at small."""
    return Gallery(
        history,
        delivery,
        cast(Thumbnails, None),
        lambda: cast(Status, None),
        inbox=world.inbox,
        done=world.done,
        failed=world.failed,
    )


def test_a_full_disk_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such, and the model's words stand."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with world.opened() as delivery:
        with monkeypatch.context() as patch, pytest.raises(Surroundings):
            patch.setattr(os, "write", full)
            delivery.edit(PATH, NEW_WORDS, LATER)
        assert unchanged(world)


@pytest.mark.parametrize("act", ["fsync", "rename"])
def test_trouble_that_passes_is_overcome(world: World, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """An error at any single act: the words stand, or they do not; image and sidecar agree either way."""
    real = getattr(os, act)
    for nth in range(12):
        left = [nth]

        def once(*arguments: Any, left: list[int] = left, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **options)

        with world.opened() as delivery:
            words = f"{NEW_WORDS} {nth}"
            with monkeypatch.context() as patch:
                patch.setattr(os, act, once)
                try:
                    delivery.edit(PATH, words, LATER)
                    stands = True
                except Surroundings:
                    stands = False
            assert (told(world)["caption"] == words) is stands
            delivery.recover()
            world.check_quiet()


def test_an_image_that_was_removed_in_a_crash_comes_back(tmp_path: Path) -> None:
    """Removed while the daemon was down in the middle of it: better twice than never."""

    def crash(*_: object) -> None:
        raise Crash

    world = World.at(tmp_path)
    with world.opened(exchange=crash) as delivery:
        world.drop(PATH)
        world.caption(delivery, world.settled(PATH))
        with pytest.raises(Crash):
            delivery.edit(PATH, NEW_WORDS, LATER)
    (world.done / PATH).unlink()
    with world.opened(exchange=no_exchange) as delivery:
        delivery.recover()
    assert told(world)["caption"] == NEW_WORDS
    world.check_quiet()


def test_an_edited_delivery_is_not_made_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Committed, and edited before the daemon came to note that: recovery knows it for the same delivery."""

    def failing(_: DeliveryTrace) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with world.opened() as delivery:
        settled = world.drop("other.jpg", b"another picture")
        with monkeypatch.context() as patch, pytest.raises(Surroundings):
            patch.setattr(DeliveryTrace, "mark_delivered", failing)
            world.caption(delivery, settled)
        delivery.edit("other.jpg", NEW_WORDS, LATER)
        assert [delivered.path for delivered in delivery.recover()] == ["other.jpg"]
    world.check_quiet()


@pytest.mark.parametrize("name", ["photo.c2pa", "photo.jpg.c2pa"])
def test_an_edit_knows_what_lies_beside_the_picture(tmp_path: Path, name: str) -> None:
    """Credentials in done/ sign the picture there, too; its name as dropped goes along."""
    told = []

    def embed_told(data: bytes, kind: str, texts: Texts, /, **options: Any) -> Described:
        told.append(options["notes"])
        return embed(data, kind, texts, **options)

    world = World.at(tmp_path, embed=embed_told)
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
        (world.done / name).write_bytes(b"a manifest")
        delivery.edit("photo.jpg", NEW_WORDS, LATER)
    assert (told[-1].is_signed, told[-1].name) == (True, "photo.jpg")


OTHERS = Texts("Rex.", "A dog, at rest.", "Rex", ("rex", "dog"), (), "")


def test_all_texts_change_together(world: World) -> None:
    """The sidecar says the new ones, and keeps the model's and the former ones."""
    with world.opened() as delivery:
        delivery.edit(PATH, lambda texts, limits: OTHERS, LATER)
        after = told(world)
        assert (after["caption"], after["fields"]) == (
            "Rex.",
            {"alt_text": "A dog, at rest.", "title": "Rex", "keywords": ["rex", "dog"], "visible_text": ""},
        )
        nothing = dict.fromkeys(("alt_text", "title", "keywords", "visible_text"))
        assert after["edited"] == {
            "at": "2026-11-24T18:30:00Z",
            "model_caption": WORDS,
            "model_fields": nothing,
        }
        (former,) = after["history"]
        assert (former["caption"], former["why"], former["replaced_at"]) == (
            WORDS,
            "edit",
            "2026-11-24T18:30:00Z",
        )
        assert (former["model"], former["prompt"]) == (after["model"], after["prompt"])
        delivery.edit(PATH, lambda texts, limits: replace(texts, title="Rex again"), LATER)
    after = told(world)
    assert after["edited"]["model_fields"] == nothing and after["edited"]["model_caption"] == WORDS
    assert [one["caption"] for one in after["history"]] == [WORDS, "Rex."]
    assert after["history"][1]["edited"]["model_caption"] == WORDS
    Draft202012Validator(json_schema()).validate(after)
    world.check_quiet()


def test_ten_former_texts_are_kept(world: World) -> None:
    """The latest ten, however often somebody changes their mind; the model's words besides."""
    with world.opened() as delivery:
        for number in range(13):
            delivery.edit(PATH, f"Rex {number}.", LATER)
    after = told(world)
    assert [one["caption"] for one in after["history"]] == [f"Rex {number}." for number in range(2, 12)]
    assert after["edited"]["model_caption"] == WORDS
    world.check_quiet()


def test_a_doubtful_text_that_a_person_changed_was_looked_at(world: World) -> None:
    """It needs no look any more, and the history tells that it did."""
    record = world.done / f"{PATH}.caption.json"
    record.write_text(json.dumps(told(world) | {"needs_look": True}))
    with world.opened() as delivery:
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert "needs_look" not in told(world) and told(world)["history"][0]["needs_look"] is True


def test_what_a_person_wrote_before_us_stays_told(tmp_path: Path) -> None:
    """A description that made way at the delivery is still told after an edit."""
    world = World.at(tmp_path)
    with world.opened() as delivery:
        job = world.claim(delivery, world.drop(PATH))
        described = replace(world.embed(job.data, "JPEG", Texts(WORDS)), previous_description="Our Rex")
        delivery.publish(job, described, record_for(job, described))
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert told(world)["previous_description"] == "Our Rex"


def test_a_forged_history_is_data(world: World) -> None:
    """Whatever somebody writes there, an edit keeps what is an entry, and fails at nothing."""
    record = world.done / f"{PATH}.caption.json"
    forgeries: tuple[Any, ...] = ("x", [1, None, {"caption": 5}], [{}] * 20, {"a": []})
    for forged in forgeries:
        record.write_text(json.dumps(told(world) | {"history": forged, "shared_keywords": forged}))
        with world.opened() as delivery:
            delivery.edit(PATH, f"{NEW_WORDS} {forged!s:.5}", LATER)
        assert len(told(world)["history"]) <= 10 and told(world)["history"][-1]["why"] == "edit"
    world.check_quiet()


KEYWORDS = (("dog", "sea"), ("cat",))


def test_keywords_that_the_picture_had_are_not_ours(tmp_path: Path) -> None:
    """What makes way for new keywords is what we added, never what somebody had given it before."""
    owned: list[Texts] = []

    def embed_told(data: bytes, kind: str, texts: Texts, /, **options: Any) -> Described:
        owned.extend(filter(None, [options.get("own")]))
        return replace(embed(data, kind, texts, **options), shared_keywords=("dog",))

    world = World.at(tmp_path, embed=embed_told)
    with world.opened() as delivery:
        world.caption(delivery, world.drop(PATH))
        first, second = (Texts(WORDS, keywords=one, keyword_paths=("animal|dog",)) for one in KEYWORDS)
        delivery.edit(PATH, lambda texts, limits: first, LATER)
        delivery.edit(PATH, lambda texts, limits: second, LATER)
    assert (owned[-1].keywords, owned[-1].keyword_paths) == (("sea",), ())


def test_who_accepts_the_texts_leaves_them_and_is_noted(world: World) -> None:
    """The image stays byte for byte, the mark is gone, and a later edit takes the note with it."""
    record, image = world.done / f"{PATH}.caption.json", (world.done / PATH).read_bytes()
    record.write_text(json.dumps(told(world) | {"needs_look": True}))
    with world.opened() as delivery:
        delivery.rewrite(PATH, lambda one: accepted(one, LATER, "Ada"), LATER)
        assert told(world)["accepted"] == {"at": "2026-11-24T18:30:00Z", "by": "Ada"}
        assert "needs_look" not in told(world) and told(world)["caption"] == WORDS
        assert (world.done / PATH).read_bytes() == image
        again = record.stat()
        delivery.rewrite(PATH, lambda one: accepted(one, LATER, "Ben"), LATER)
        assert record.stat() == again and told(world)["accepted"]["by"] == "Ada"
        delivery.edit(PATH, NEW_WORDS, LATER)
    assert "accepted" not in told(world)
    world.check_quiet()
