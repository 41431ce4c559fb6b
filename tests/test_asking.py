"""Promises about what is said of a picture: several texts, checked, asked for again, as a user sees it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.captioners.remote import RemoteCaptioner
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.pipeline.same_answer import SameAnswer
from captiond.records import Answer, CaptionRequest, ModelIdentity, Picture, Said, Texts
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler, answers
from interviews import ALL, FACTS, PROMPTS, WORDS, by_prompt, interviewing, picture

MODEL = ModelIdentity("fake", "openai")
REFUSAL = "I'm sorry, but I can't assist with that request."


class Model:
    """Answers by prompt; each answer of a list once, the last one for ever."""

    def __init__(self, **answers: list[Answer | Rejected | TryLater | str] | str) -> None:
        self.asked: list[list[CaptionRequest]] = []
        self._left = {
            name: [answers.get(name, text)] if isinstance(answers.get(name, text), str) else answers[name]
            for name, text in WORDS.items()
        }

    def __call__(self, requests: Any) -> list[Any]:
        self.asked.append(list(requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request: CaptionRequest) -> Answer | Rejected | TryLater:
        name = next(
            name for name in WORDS if PROMPTS[name] in request.prompt or f": {name}." in request.prompt
        )
        left: Any = self._left[name]
        said: str | Rejected | TryLater = left.pop(0) if len(left) > 1 else left[0]
        if not isinstance(said, str):
            return said
        return Answer(said, None, MODEL, request, 100, 10, "stop")


def test_several_texts_are_asked_together() -> None:
    """One call for all fields, and each answer is what its field may hold."""
    model = Model()
    said = interviewing("alt_text", "title", "keywords", "visible_text")(model, FACTS)
    assert [len(round) for round in model.asked] == [5]
    assert said.texts.caption == WORDS["caption"]
    assert (said.texts.alt_text, said.texts.title) == (WORDS["alt_text"], WORDS["title"])
    assert said.texts.keywords == ("dogs", "beach", "sunset")
    assert said.texts.visible_text == ""
    assert [one.field for one in said.asked] == ["caption", "alt_text", "title", "keywords", "visible_text"]
    assert [one.text for one in said.dropped] == ["two dogs running very fast"]
    assert not said.needs_look


def test_one_good_caption_leaves_no_trace_of_the_checks() -> None:
    """With the defaults nothing is added: no second question, no list of questions, no warning."""
    model = Model()
    said = interviewing()(model, FACTS)
    assert said.texts.caption == said.answer.text == WORDS["caption"]
    assert (said.asked, said.notices, said.dropped, said.needs_look) == ((), (), (), False)
    assert model.asked == [[CaptionRequest(PROMPTS["caption"], 60)]]


def test_a_refusal_is_asked_again_and_the_best_is_delivered() -> None:
    """First with another temperature and seed, then plainly; what came first stands in the sidecar."""
    model = Model(caption=[REFUSAL, "", WORDS["caption"]])
    said = interviewing()(model, FACTS)
    assert said.texts.caption == WORDS["caption"]
    first, second, third = (round[0] for round in model.asked)
    assert first.temperature == 0 and second.temperature > 0 and second.prompt == first.prompt
    assert third.prompt == "Plainly: caption."
    assert [one.raw_output for one in said.asked[0].tries] == [REFUSAL, ""]
    assert not said.needs_look


def test_a_model_that_always_refuses_has_no_caption() -> None:
    """The picture fails with the reason, and is asked about no more often than the settings say."""
    model = Model(caption=REFUSAL)
    with pytest.raises(Rejected) as rejected:
        interviewing(second_tries=1)(model, FACTS)
    assert rejected.value.kind == "empty_caption"
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("content", "finish_reason", "key", "told"),
    [
        ("", "length", "reasoning_content", "raise caption.max_new_tokens"),
        (None, "stop", "reasoning", "without its reasoning parser"),
        (" \n<|im_end|>", "stop", "reasoning_content", "without its reasoning parser"),
    ],
)
def test_thoughts_that_came_apart_are_named(
    tmp_path: Path, content: str | None, finish_reason: str, key: str, told: str
) -> None:
    """Nothing in `content` and all in `reasoning_content`: the record says so and what to set."""
    with FakeChatServer() as server:
        server.always = answers(content, finish_reason=finish_reason, **{key: "A red wall? Yes."})
        place = Place(tmp_path, {"model": server.settings, "checks": {"second_tries": 0}})
        place.drop(picture(10), "a.png")
        assert place.once().returncode == 1
    error = place.error("a.png")
    assert error["kind"] == "empty_caption"
    assert "the model only thought" in error["message"] and told in error["message"]
    assert "reasoning" in error["advice"]


def test_a_field_that_was_only_thought_about_is_absent_with_its_key(tmp_path: Path) -> None:
    """Also the words in a picture, of which there may be none: behind thoughts nothing is no answer."""
    thinks = answers(None, finish_reason="length", reasoning_content="Let me see.")
    with FakeChatServer() as server:
        server.always = lambda handler: (
            by_prompt(handler) if PROMPTS["caption"] in handler.seen.prompt else thinks(handler)
        )
        place = Place(tmp_path, {"model": server.settings, **ALL, "checks": {"second_tries": 0}})
        place.drop(picture(10), "a.png")
        assert place.once().returncode == 0
    told = place.sidecar("a.png")
    assert "fields" not in told
    messages = {one["field"]: one["message"] for one in told["warnings"] if one["code"] == "empty"}
    assert set(messages) == {"alt_text", "title", "keywords", "visible_text"}
    assert "fields.visible_text_max_new_tokens" in messages["visible_text"]


def test_only_the_caption_decides() -> None:
    """A field that cannot be had is absent with a warning of its own."""
    model = Model(title="", alt_text=[Rejected("refused_by_server", "no", stage="caption")])
    said = interviewing("alt_text", "title")(model, FACTS)
    assert (said.texts.alt_text, said.texts.title) == (None, None)
    assert {(one.code, one.field) for one in said.notices} == {("empty", "title"), ("empty", "alt_text")}


def test_the_captions_trouble_is_the_pictures() -> None:
    """What the server says about the caption's question becomes of the picture, whatever the others got."""
    model = Model(caption=[TryLater("the answer came to nothing")])
    with pytest.raises(TryLater, match="came to nothing"):
        interviewing("title")(model, FACTS)


def test_what_stays_doubtful_is_marked_or_fails() -> None:
    """A loop that no second try ends is delivered as needing a look, or not at all, as the settings say."""
    loop = "A dog on a beach, " * 12
    said = interviewing(second_tries=1)(Model(caption=loop), FACTS)
    assert said.needs_look and "loop" in {one.code for one in said.notices}
    with pytest.raises(Rejected) as rejected:
        interviewing(second_tries=1, fails_unsure=True)(Model(caption=loop), FACTS)
    assert rejected.value.kind == "unsure"


def test_what_this_model_cannot_answer_is_told() -> None:
    """The demo model knows captions alone: other fields are skipped, and a warning says so."""
    said = interviewing(skipped=("title",))(Model(), FACTS)
    assert [(one.code, one.field) for one in said.notices] == [("skipped", "title")]


def test_a_picture_with_all_its_texts(tmp_path: Path) -> None:
    """Dropped, it comes out with every text in its sidecar; the JPEG is encoded once and stands first."""
    with FakeChatServer() as server:
        server.always = by_prompt
        place = Place(tmp_path, {"model": server.settings, **ALL})
        place.drop(picture(10), "a.png")
        assert place.once().returncode == 0
        asked = captiond("caption", "-c", place.settings, "--json", place.done / "a.png")
    told = place.sidecar("a.png")
    assert told["caption"] == WORDS["caption"]
    assert told["fields"] == {
        "alt_text": WORDS["alt_text"],
        "title": WORDS["title"],
        "keywords": ["dogs", "beach", "sunset"],
        "visible_text": "",
    }
    assert [one["field"] for one in told["asked"]] == list(WORDS)
    assert json.loads(asked.stdout)["fields"] == told["fields"]


def test_the_defaults_add_nothing(tmp_path: Path) -> None:
    """A caption that no check touches has the sidecar that it always had."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste("navy", (0, 0, 30, 40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with FakeChatServer() as server:
        place = Place(tmp_path, {"model": server.settings})
        place.drop(buffer.getvalue(), "a.png")
        assert place.once().returncode == 0
    told = place.sidecar("a.png")
    assert not {"fields", "asked", "dropped", "needs_look", "language", "profile"} & told.keys()
    assert told["warnings"] == []


def test_a_language_is_asked_for_in_its_own_words(tmp_path: Path) -> None:
    """The prompt ends with the language, named as it calls itself, and the sidecar says which."""
    with FakeChatServer() as server:
        server.always = lambda handler: handler.say("Zwei Hunde laufen am Abend über einen Strand.")
        place = Place(tmp_path, {"model": server.settings, "fields": {"language": "de"}})
        place.drop(picture(10), "a.png")
        assert place.once().returncode == 0
    assert place.sidecar("a.png")["language"] == "de"
    assert server.seen[-1].prompt.endswith("Antworte auf Deutsch.")


def test_each_server_is_judged_by_what_it_says_itself() -> None:
    """Of two servers the blind one is found and named, whatever the other says in between."""
    with FakeChatServer() as sees, FakeChatServer() as blind:
        blind.always = lambda handler: handler.say("A plain white page.")
        captioner = RemoteCaptioner(base_url=[sees.url, blind.url], model_id=sees.model_id)
        captioner.load()
        same_answer = SameAnswer(captioner, limit=3)
        found: dict[str | None, list[str]] = {sees.url: [], blind.url: []}
        for number in range(16):
            image = Image.new("RGB", (400 + 8 * number, 400), "red")
            answer = captioner.ask(
                captioner.prepare(Picture(image, FACTS)), CaptionRequest("What is it?", 20)
            )
            said = Said(Texts(answer.text), answer)
            try:
                same_answer.must_differ(said, f"{number}")
            except Surroundings as trouble:
                found[answer.server].append(trouble.message)
        captioner.close()
    assert found[sees.url] == []
    assert len(found[blind.url]) >= 2 and blind.url in found[blind.url][0]


def _until_paused(place: Place, running: Any) -> Callable[[], bool]:
    return lambda: "says the same about every picture" in running.log()


def test_a_model_that_does_not_see_pauses_the_work(tmp_path: Path) -> None:
    """One answer to everything pauses, charges nobody, and ends by itself when the model sees again."""
    with FakeChatServer() as server:
        server.always = lambda handler: handler.say("A plain white page.")
        place = Place(tmp_path, {"model": server.settings, "checks": {"same_answer_limit": 3}})
        with place.running() as running:
            for shade in range(8):
                place.drop(picture(30 * shade), f"{shade}.png")
            running.until(_until_paused(place, running))
            server.always = None
            running.until(lambda: len(list(place.done.glob("*.caption.json"))) == 8)
    assert not list(place.failed.glob("*.png"))
    assert all(place.sidecar(f"{shade}.png")["attempts"] == 1 for shade in range(8))


def test_a_hundred_blank_scans_are_no_fault(tmp_path: Path) -> None:
    """An honest model that says one thing about blank pages is tried with two test pictures, and believed."""

    def honest(handler: Handler) -> None:
        with handler.seen.image as image:
            colours = image.convert("RGB").getcolors(100_000) or []
        handler.say("A blank page." if len(colours) == 1 else f"A drawing of {len(colours)} colours.")

    with FakeChatServer() as server:
        server.always = honest
        place = Place(tmp_path, {"model": server.settings, "checks": {"same_answer_limit": 3}})
        for shade in range(12):
            place.drop(picture(20 * shade), f"{shade}.png")
        assert place.once().returncode == 0
    assert len(list(place.done.glob("*.caption.json"))) == 12


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"checks": {"banned": ["/(/"]}}, "checks.banned"),
        ({"fields": {"vocabulary": "nothere.txt"}}, "fields.vocabulary"),
        ({"fields": {"language": "German"}}, "fields.language"),
        ({"fields": {"alt_text_characters": 251}}, "fields.alt_text_characters"),
    ],
)
def test_wrong_settings_of_texts_are_told_at_once(tmp_path: Path, section: dict[str, Any], said: str) -> None:
    """Before anything runs, with the key that is wrong and exit code 78."""
    place = Place(tmp_path, section)
    refused = place.once()
    assert refused.returncode == 78
    assert said in refused.stderr
