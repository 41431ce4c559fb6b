"""Promises about `fields.ask: together`: one request for all texts, and the questions after a bad answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from captiond import checking
from captiond.captioners.remote import RemoteCaptioner
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.records import CaptionRequest, FieldName, Said
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler, answers, fails, sends
from interviews import ALL, FACTS, PROMPTS, WORDS, by_prompt, interviewing, picture, plain_picture

ANSWER = json.dumps(WORDS)
OTHERS: tuple[FieldName, ...] = ("alt_text", "title", "keywords", "visible_text")
SCHEMA_REFUSED = "response_format.type must be one of text, json_object"


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    with FakeChatServer() as server:
        yield server


@pytest.fixture
def captioner(server: FakeChatServer) -> Iterator[RemoteCaptioner]:
    captioner = RemoteCaptioner(base_url=server.url, model_id=server.model_id, timeout_seconds=10)
    captioner.load()
    server.seen.clear()
    yield captioner
    captioner.close()


def said_of(captioner: RemoteCaptioner) -> Said:
    prepared = captioner.prepare(plain_picture())
    return interviewing(*OTHERS, asks_together=True)(partial(captioner.ask_all, prepared), FACTS)


def is_held(handler: Handler) -> bool:
    return "response_format" in handler.seen.payload


def codes(said: Said) -> list[str]:
    return [notice.code for notice in said.notices]


def in_one(said: str) -> Callable[[Handler], None]:
    """Says this to the question for all, and the right words to each question by itself."""
    return lambda handler: handler.say(said) if "JSON" in handler.seen.prompt else by_prompt(handler)


def test_all_texts_come_in_one_answer(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """One request asks for one compact object of strings, with room for all; each text is judged as ever."""
    server.script = [ANSWER]
    said = said_of(captioner)
    (asked,) = server.seen
    assert all(prompt in asked.prompt for prompt in PROMPTS.values()) and "compact" in asked.prompt
    schema = asked.payload["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == schema["required"] == list(WORDS)
    assert {one["type"] for one in schema["properties"].values()} == {"string"}
    assert asked.payload["max_tokens"] >= len(WORDS) * 60
    assert said.texts.caption == WORDS["caption"] and said.texts.visible_text == ""
    assert said.texts.keywords == ("dogs", "beach", "sunset") and codes(said) == []
    assert said.answer.request == CaptionRequest(PROMPTS["caption"], 60)
    assert [one.text for one in said.dropped] == ["two dogs running very fast"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Two dogs run along a beach.", "no JSON"),
        ('{"caption": "Two dogs run along a beach.", "alt_text": "Tw', "no JSON"),
        (ANSWER[:-1] + "\n" * 400, "white space"),
        ('{"caption":' + " " * 900, "white space"),
        ('["Two dogs"]', "no JSON object"),
        (json.dumps({**WORDS, "keywords": ["dog", "beach"]}), "no text for keywords"),
        (json.dumps({"caption": "Two dogs."}), "no text for alt_text, title, keywords, visible_text"),
        (ANSWER[:-1] + ', "title": "Cats"}', "texts"),
        ("", "no JSON"),
    ],
)
def test_an_answer_that_is_none_is_followed_by_the_questions(
    server: FakeChatServer, captioner: RemoteCaptioner, answer: str, why: str
) -> None:
    """Whatever the server says of it: the texts are those of separate questions, and a warning tells."""
    server.always = in_one(answer)
    said = said_of(captioner)
    assert said.texts.caption == WORDS["caption"] and said.texts.title == WORDS["title"]
    assert codes(said) == ["invalid_json"] and why in said.notices[0].message
    assert len(server.seen) == 1 + len(WORDS) and not said.needs_look


@pytest.mark.parametrize(
    "answer", [f"```json\n{ANSWER}\n```", f"<think>A dog?</think>{ANSWER}", ANSWER + " " * 400]
)
def test_a_server_that_ignores_the_schema_is_judged_by_what_it_says(
    server: FakeChatServer, captioner: RemoteCaptioner, answer: str
) -> None:
    """An object is taken, whatever stands around it and however it ended."""
    server.script = [answers(answer, finish_reason="length")]
    said = said_of(captioner)
    assert said.texts.title == WORDS["title"] and codes(said) == [] and len(server.seen) == 1


def test_one_bad_text_alone_is_asked_again(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """By its own question; what came beside it stays."""
    server.script = [json.dumps({**WORDS, "title": "I'm sorry, but I can't assist with that request."})]
    server.always = by_prompt
    said = said_of(captioner)
    assert said.texts.title == WORDS["title"] and codes(said) == []
    assert [PROMPTS["title"] in seen.prompt for seen in server.seen] == [True, True]
    assert PROMPTS["caption"] not in server.seen[1].prompt


def test_a_server_that_refuses_schemas_is_asked_in_words_from_then_on(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """It says 400 once; the pictures get their texts, nothing is charged and no server is left out."""

    def step(handler: Handler) -> None:
        handler.complain(400, SCHEMA_REFUSED) if is_held(handler) else handler.say(ANSWER)

    server.always = step
    for _ in range(3):
        assert codes(said_of(captioner)) == []
    assert ["response_format" in seen.payload for seen in server.seen] == [True, False, False, False]


@pytest.mark.parametrize("trouble", [fails(500), fails(501), sends(b'{"error": {"message": "grammar"}}')])
def test_a_server_that_fails_on_schemas_is_not_in_trouble(
    server: FakeChatServer, captioner: RemoteCaptioner, trouble: Callable[[Handler], None]
) -> None:
    """It is asked without before it is blamed; after three times it gets no schema any more."""
    server.always = lambda handler: trouble(handler) if is_held(handler) else handler.say(ANSWER)
    for _ in range(5):
        assert codes(said_of(captioner)) == []
    assert sum("response_format" in seen.payload for seen in server.seen) == 3
    assert captioner.gauges().requests_in_flight == 0


def test_a_failure_that_passes_costs_no_schema(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A fault of a moment is forgotten with the next answer."""
    for _ in range(4):
        server.script = [fails(500), ANSWER, ANSWER]
        assert codes(said_of(captioner)) == codes(said_of(captioner)) == []
    assert sum("response_format" in seen.payload for seen in server.seen) == 8


def test_a_server_that_fails_altogether_is_everybodys_trouble(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """As without a schema: the work pauses, and no picture is charged."""
    server.always = fails(500)
    for _ in range(4):
        with pytest.raises(Surroundings, match="500"):
            said_of(captioner)


def test_no_room_for_all_is_room_for_each(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A context that cannot hold the answers together gets the questions; the picture is sent as ever."""

    def step(handler: Handler) -> None:
        if "JSON" in handler.seen.prompt:
            handler.complain(400, "this model's maximum context length is 2048 tokens")
        else:
            by_prompt(handler)

    server.always = step
    said = said_of(captioner)
    assert said.texts.caption == WORDS["caption"] and codes(said) == ["invalid_json"]
    assert len({seen.image.size for seen in server.seen}) == 1 and len(server.seen) == 1 + len(WORDS)


def test_a_caption_alone_is_asked_as_ever(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """Where nothing else is wanted there is nothing to put together."""
    prepared = captioner.prepare(plain_picture())
    interviewing(asks_together=True)(partial(captioner.ask_all, prepared), FACTS)
    assert [seen.prompt for seen in server.seen] == [PROMPTS["caption"]]
    assert "response_format" not in server.seen[0].payload


def test_what_the_model_refuses_altogether_fails_the_picture_as_ever(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """The questions that follow say what becomes of it."""
    refuses = answers(None, refusal="I do not describe this.")
    for_others = "Red."  # a plain test picture fares better, so that it is this picture's affair
    server.always = lambda handler: (
        handler.say(for_others) if "colour" in handler.seen.prompt else refuses(handler)
    )
    with pytest.raises(Rejected) as rejected:
        said_of(captioner)
    assert rejected.value.kind == "refused_by_server"
    nonsense = sends(b"{}")
    server.always = lambda handler: (
        handler.say(for_others) if "colour" in handler.seen.prompt else nonsense(handler)
    )
    with pytest.raises(TryLater):
        said_of(captioner)


def test_pictures_in_a_folder_are_asked_together(tmp_path: Path) -> None:
    """As a user runs it: all texts in the sidecars, and the bad answers counted."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with FakeChatServer() as server:
        settings = {"model": server.settings, "http": {"listen": address}, **ALL}
        place = Place(tmp_path, {**settings, "fields": {**ALL["fields"], "ask": "together"}})
        with place.running() as daemon, httpx.Client(base_url=f"http://{address}", trust_env=False) as door:
            server.always = in_one(ANSWER)
            place.drop(picture(10), "a.png")
            daemon.until(lambda: (place.done / "a.png.caption.json").exists())
            server.always = in_one("Two dogs.")
            place.drop(picture(20), "b.png")
            daemon.until(lambda: (place.done / "b.png.caption.json").exists())
            told = 'captiond_warnings_total{code="invalid_json"} 1.0'
            daemon.until(lambda: told in door.get("/metrics").text)
    first, second = place.sidecar("a.png"), place.sidecar("b.png")
    assert first["fields"] == second["fields"] and first["caption"] == second["caption"] == WORDS["caption"]
    assert first["prompt"] == PROMPTS["caption"]
    assert ["invalid_json" in {one["code"] for one in told["warnings"]} for told in (first, second)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("profile", [False, True])
def test_a_model_on_this_machine_needs_no_such_thing(tmp_path: Path, profile: bool) -> None:
    """The settings are refused with the key, the reason and the place."""
    fields: dict[str, Any] = {"ask": "together", "wanted": ["caption", "title"]}
    place = Place(tmp_path)
    written = json.loads(place.settings.read_text())
    more = {"profiles": [{"match": "a/**", "fields": fields}]} if profile else {"fields": fields}
    place.settings.write_text(json.dumps(written | more))
    ran = captiond("check", "-c", place.settings)
    assert ran.returncode == 78
    assert "`fields.ask` is 'together', but must be separately" in ran.stderr and "openai" in ran.stderr


def test_complaints_never_raise() -> None:
    """Whatever stands in the answer."""
    for said in ("", "\ud800", "[" * 5000, "{" * 5000, "1", "null", " " * 10**6, '{"caption": null}'):
        assert checking.taken_apart(said, ["caption"]) is None
        assert checking.complaint(said, ["caption"])
