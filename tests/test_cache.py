"""The same picture, one inference: what the model sees decides, and not the file."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from captiond.cache import Cache
from captiond.captioners import fingerprint_of
from captiond.captioners.remote import Prepared, RemoteCaptioner
from captiond.checking import Question
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.pipeline.preparing import Ready
from captiond.pipeline.remembering import Remembering
from captiond.records import (
    Answer,
    CaptionRequest,
    ModelIdentity,
    PictureFacts,
    Remembered,
    Rules,
)
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler, describe
from faults.load import picture

FACTS = PictureFacts("PNG", 16, 16)
REQUEST = CaptionRequest("What is shown?", 40)
MODEL = ModelIdentity("fake", "none")


def _said(text: str, request: CaptionRequest = REQUEST) -> Answer:
    return Answer(text, None, MODEL, request, 7, 3, "stop")


class Model:
    """Answers with what it is shown, counts, and waits or fails where it is told to."""

    identity = MODEL

    def __init__(self) -> None:
        self.asked: list[tuple[str, CaptionRequest]] = []
        self.answers: list[str | Exception] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_asked = threading.Event()

    def fingerprint(self, prepared: str) -> bytes:
        return fingerprint_of(MODEL, "", prepared.encode())

    def ask_all(
        self, prepared: str, requests: Sequence[CaptionRequest]
    ) -> list[Answer | Rejected | TryLater]:
        found: list[Answer | Rejected | TryLater] = []
        for request in requests:
            self.asked.append((prepared, request))
            self.is_asked.set()
            assert self.may_answer.wait(60)
            told = self.answers.pop(0) if self.answers else f"A {prepared} in the garden."
            if isinstance(told, Rejected | TryLater):
                found.append(told)
            elif isinstance(told, Exception):
                raise told
            else:
                found.append(_said(told, request))
        return found


def _rules(prompt: str = "What is shown?", *, limit: int = 40, asks_anew: bool = False) -> Rules:
    interview = Interviewing(FieldQuestion(Question("caption", prompt), limit))
    return Rules(interview, None, 1, 1, 3, asks_anew=asks_anew)  # type: ignore[arg-type]


class World:
    def __init__(self, folder: Path, entries: int = 100) -> None:
        self.model, self.cache = Model(), Cache(folder, entries)
        self.remembering: Remembering[str] = Remembering(self.model, self.cache)  # type: ignore[arg-type]

    def say(
        self, shown: str, source: str, rules: Rules | None = None, *, keeps: bool = True
    ) -> tuple[str, str | None]:
        """The caption, and from whom it comes."""
        with self.remembering.about(Ready(shown, FACTS, 0.0), rules or _rules(), source) as about:
            said = about.said()
            if keeps:
                about.keep()
        return said.texts.caption, said.cached_from


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_equal_picture_costs_no_question_and_says_whose_words_they_are(world: World) -> None:
    """Also after a restart; another picture, prompt or limit is asked about."""
    first = world.say("dog", "a" * 64)
    assert first == ("A dog in the garden.", None)
    assert world.say("dog", "b" * 64) == (first[0], "a" * 64)
    world.remembering = Remembering(world.model, Cache(world.cache._database.folder, 100))  # type: ignore[arg-type]
    assert world.say("dog", "c" * 64) == (first[0], "a" * 64)
    assert len(world.model.asked) == 1
    for shown, rules in (("cat", _rules()), ("dog", _rules("What?")), ("dog", _rules(limit=41))):
        assert world.say(shown, "d" * 64, rules)[1] is None
    assert len(world.model.asked) == 4


def test_nothing_is_kept_of_what_was_not_believed(world: World) -> None:
    """A picture that failed, or whose words were never delivered, leaves nothing behind."""
    world.say("dog", "a" * 64, keeps=False)
    assert world.say("dog", "b" * 64)[1] is None
    world.model.answers = [""] * 3
    with pytest.raises(Rejected):
        world.say("cat", "c" * 64)
    assert world.say("cat", "d" * 64) == ("A cat in the garden.", None)


def test_a_chain_is_gone_through_again_to_the_same_words(world: World) -> None:
    """What a second try said is not taken for what the first said, and a copy asks neither."""
    world.model.answers = ["", "A dog at last."]
    assert world.say("dog", "a" * 64) == ("A dog at last.", None)
    assert [request.temperature for _, request in world.model.asked] == [0.0, 0.7]
    assert world.say("dog", "b" * 64) == ("A dog at last.", "a" * 64)
    assert len(world.model.asked) == 2


def test_whoever_goes_past_it_asks_and_what_came_counts_from_then_on(world: World) -> None:
    """Describing anew asks the model, and its words take the place of the former ones."""
    world.say("dog", "a" * 64)
    world.model.answers = ["A wolf, on second thoughts."]
    assert world.say("dog", "a" * 64, _rules(asks_anew=True)) == ("A wolf, on second thoughts.", None)
    assert world.say("dog", "b" * 64)[0] == "A wolf, on second thoughts."


Told = tuple[str, str | None] | Rejected | Surroundings | TryLater


def _together(world: World, count: int) -> list[Told]:
    """What that many equal pictures come to, all of them in work before the model answers."""
    world.model.may_answer.clear()
    told: list[Told] = []

    def say(number: int) -> None:
        try:
            told.append(world.say("dog", f"{number:064}"))
        except (Rejected, Surroundings, TryLater) as verdict:
            told.append(verdict)

    threads = [threading.Thread(target=say, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    assert world.model.is_asked.wait(60)
    world.model.may_answer.set()
    for thread in threads:
        thread.join(60)
    return told


def test_twins_in_work_at_the_same_time_ask_once(world: World) -> None:
    """The others wait for the one that asks, and say whose words they have."""
    told = _together(world, 12)
    assert len(world.model.asked) == 1 and len(told) == 12
    answers = [one for one in told if isinstance(one, tuple)]
    assert {answer[0] for answer in answers} == {"A dog in the garden."}
    assert sum(answer[1] is None for answer in answers) == 1


@pytest.mark.parametrize(
    "trouble", [Surroundings("down"), TryLater("odd"), Rejected("refused_by_server", "no", stage="caption")]
)
def test_twins_do_not_wait_for_one_that_fails(
    world: World, trouble: Rejected | Surroundings | TryLater
) -> None:
    """Its trouble is its own: another asks, and then they all have words."""
    world.model.answers = [trouble]
    told = _together(world, 6)
    assert len(told) == 6 and told.count(trouble) == 1 and len(world.model.asked) == 2


def test_two_that_wait_for_each_other_do_not_wait_for_ever(world: World) -> None:
    """Each asks its own questions before it waits for the other's."""
    shared = FieldQuestion(Question("alt_text", "One sentence?"), 40)
    first = Interviewing(FieldQuestion(Question("caption", "What?"), 40), (shared,))
    second = Interviewing(
        FieldQuestion(Question("caption", "One sentence?"), 40),
        (FieldQuestion(Question("alt_text", "What?"), 40),),
    )
    threads = [
        threading.Thread(
            target=world.say,
            args=("dog", "a" * 64, Rules(one, None, 1, 1, 3)),  # type: ignore[arg-type]
            daemon=True,
        )
        for one in [first, second] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and len(world.model.asked) == 2


def test_it_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    """Of 50 answers 20 are kept, the newest."""
    world = World(tmp_path, entries=20)
    for number in range(50):
        world.say(f"dog {number}", "a" * 64)
    with sqlite3.connect(tmp_path / "answers.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (20,)
    assert world.say("dog 49", "b" * 64)[1] is not None and world.say("dog 0", "b" * 64)[1] is None


@pytest.mark.parametrize(
    "answer",
    ["", "[]", "{", '{"text": 7}', '{"text": "x"}', "[" * 10_000,
     '{"text": "x", "raw_output": null, "model": [], "prompt_tokens": 1, "new_tokens": 1}'],
)  # fmt: skip
def test_what_somebody_wrote_into_it_is_not_believed(world: World, tmp_path: Path, answer: str) -> None:
    """An entry that is no answer of ours is as good as none."""
    world.say("dog", "a" * 64)
    with sqlite3.connect(tmp_path / "answers.sqlite3") as database:
        database.execute("UPDATE answers SET answer = ?", (answer,))
    assert world.say("dog", "b" * 64) == ("A dog in the garden.", None)


def test_a_broken_file_is_set_aside_and_a_deleted_one_begun_anew(tmp_path: Path) -> None:
    """Neither costs more than a question; the broken one stays for whoever wants to look at it."""
    (tmp_path / "answers.sqlite3").write_bytes(b"no database at all" * 1000)
    world = World(tmp_path)
    world.say("dog", "a" * 64)
    assert world.say("dog", "b" * 64)[1] == "a" * 64
    assert (tmp_path / "answers.sqlite3").read_bytes().startswith(b"no database")
    for file in tmp_path.glob("answers*"):
        file.unlink()
    assert world.say("dog", "c" * 64) == ("A dog in the garden.", None)
    assert world.say("dog", "d" * 64)[1] == "c" * 64


def test_where_it_cannot_be_written_pictures_are_asked_about(tmp_path: Path) -> None:
    """A state folder that is gone stops nobody."""
    world = World(tmp_path / "gone")
    assert world.say("dog", "a" * 64)[0] == world.say("dog", "b" * 64)[0] == "A dog in the garden."
    assert world.cache.get(b"x", REQUEST) is None
    world.cache.put([(b"x", Remembered(_said("y"), "a" * 64))])


def test_a_server_is_known_by_its_address_and_several_by_their_model() -> None:
    """The same words from another single server are not taken for this one's; one of several is as good."""

    def of(model: str, *urls: str) -> bytes:
        with_urls: Any = list(urls) if len(urls) > 1 else urls[0]
        captioner = RemoteCaptioner(base_url=with_urls, model_id=model)
        try:
            return captioner.fingerprint(Prepared(b"jpeg"))
        finally:
            captioner.close()

    one, other = "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"
    assert of("m", one) == of("m", one) != of("m", other)
    assert of("m", one, other) == of("m", other, one, "http://127.0.0.1:3/v1") != of("n", one, other)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _drawn() -> Image.Image:
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    image.paste((220, 20, 20), (40, 40, 200, 180))
    return image


def test_what_is_the_same_to_the_model_and_what_is_not(tmp_path: Path, server: FakeChatServer) -> None:
    """Other names, other metadata and lossless re-saves cost no question; a re-encoded one does, and so does
    what a person wrote for the first: the copy gets the model's words."""
    image, text = _drawn(), PngImagePlugin.PngInfo()
    text.add_text("Comment", "taken by nobody")
    first = _saved(image, "JPEG", quality=90)
    copies = {
        "a/png.png": _saved(image, "PNG"),
        "b/other-name.png": _saved(image, "PNG"),
        "c/text.png": _saved(image, "PNG", pnginfo=text, compress_level=1),
        "d/lossless.webp": _saved(image, "WEBP", lossless=True),
        "e/plain.bmp": _saved(image, "BMP"),
        "f/tiff.tiff": _saved(image, "TIFF", compression="tiff_lzw"),
    }
    place = Place(tmp_path, {"model": server.settings})
    for name, data in copies.items():
        place.drop(data, name)
    assert place.once().returncode == 0
    probes = len(server.seen) - 1
    found = [place.sidecar(name) for name in copies]
    assert len({one["caption"] for one in found}) == 1
    sources = {one.get("cached_from") for one in found}
    assert len(sources) == 2 and None in sources
    assert sources - {None} <= {one["source"]["sha256"] for one in found if "cached_from" not in one}
    place.drop(first, "g.jpg")
    place.drop(_saved(image, "JPEG", quality=60), "h.jpg")
    place.drop(_saved(image, "JPEG", quality=90, comment=b"another"), "i.jpg")
    assert place.once().returncode == 0
    told = [place.sidecar(name).get("cached_from") for name in ("g.jpg", "h.jpg", "i.jpg")]
    assert told[1] is None and (told[0] is None) != (told[2] is None)
    assert len(server.seen) == 2 * probes + 3


@pytest.mark.long
def test_copies_cost_no_question_and_their_captions_are_those_of_a_daemon_without(tmp_path: Path) -> None:
    """Of 50 pictures 20 are copies, and the daemon is restarted in the middle: 30 questions."""
    pictures = {f"{number}.jpg": picture(6_000 + number % 30)[0] for number in range(50)}
    captions: list[dict[str, str]] = []
    for entries in (100_000, 0):
        with FakeChatServer() as server:
            place = Place(tmp_path / str(entries), {"model": server.settings, "cache": {"entries": entries}})
            asked = 0
            for half in (list(pictures)[:25], list(pictures)[25:]):
                for name in half:
                    # Not the same to the last byte: an empty comment before the end of the picture.
                    place.drop(pictures[name][:2] + b"\xff\xfe\x00\x02" + pictures[name][2:], name)
                before = len(server.seen)
                assert place.once().returncode == 0
                asked += len(server.seen) - before - 2  # the start tries the server with two plain pictures
            assert asked == (30 if entries else 50)
        captions.append({name: place.sidecar(name)["caption"] for name in pictures})
        assert captions[-1] == {name: picture(6_000 + int(name[:-4]) % 30)[1] for name in pictures}
    assert captions[0] == captions[1]


def test_copies_are_counted_and_no_reason_to_doubt_the_model(tmp_path: Path) -> None:
    """Ten copies in a row have one answer, which is told in `status`; nobody asks whether the model sees."""

    def speak(handler: Handler) -> None:
        handler.say(describe(handler.seen.image))

    with FakeChatServer() as server:
        server.always = speak
        place = Place(tmp_path, {"model": server.settings, "output": {"duplicates": "keep"}})
        data = picture(7_000)[0]
        with place.running() as daemon:
            before = len(server.seen)
            for number in range(10):
                place.drop(data, f"{number}.jpg")
            daemon.until(lambda: len(list(place.done.glob("*.json"))) == 10)
            assert len(server.seen) - before == 1
            daemon.until(lambda: "(9 as copies of others)" in captiond("status", "-c", place.settings).stdout)
