"""A caption from a server: what is sent, what is made of the answer, and whose fault trouble is."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from structlog.testing import capture_logs

from captiond import jpeg
from captiond.captioners import Captioner, chat
from captiond.captioners import server as server_module
from captiond.captioners.remote import Prepared, RemoteCaptioner
from captiond.captioners.text import clean
from captiond.checking import Question
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.pictures.decoding import decode
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import Answer, CaptionRequest, ModelIdentity, Picture, PictureFacts
from fake_chat_server import (
    FakeChatServer,
    Handler,
    answers,
    describe,
    fails,
    hangs_up,
    sends,
    sleeps,
    trickles,
)

REQUEST = CaptionRequest("Describe what is shown in this image.", 160)


def picture(colour: str = "red", size: tuple[int, int] = (64, 48)) -> Picture:
    return Picture(Image.new("RGB", size, colour), PictureFacts("JPEG", *size))


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[FakeChatServer, RemoteCaptioner]]:
    """One server and one client for all, since a client takes its time to read the system's certificates."""
    with FakeChatServer() as server, closing(captioner_for(server)) as captioner:
        yield server, captioner


@pytest.fixture
def server(running: tuple[FakeChatServer, RemoteCaptioner]) -> FakeChatServer:
    server, _ = running
    server.script, server.seen = [], []
    return server


@pytest.fixture
def captioner(server: FakeChatServer, running: tuple[FakeChatServer, RemoteCaptioner]) -> RemoteCaptioner:
    return running[1]


def captioner_for(server: FakeChatServer, **options: Any) -> RemoteCaptioner:
    return RemoteCaptioner(**{"base_url": server.url, "model_id": "fake-vision", **options})


def ask(captioner: RemoteCaptioner, shown: Picture | None = None) -> Answer:
    return captioner.ask(captioner.prepare(shown or picture()), REQUEST)


# ---- what goes over the wire ---------------------------------------------------------------------


def test_a_picture_goes_out_and_a_caption_comes_back(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """The server sees the very picture and the prompt; the caption records what it answered."""
    caption = ask(captioner, picture("green", (40, 30)))
    assert caption == Answer(
        text="A 40 by 30 picture, mostly green.",
        raw_output=None,
        model=ModelIdentity("fake-vision", "openai"),
        request=REQUEST,
        prompt_tokens=790,
        new_tokens=17,
        finish_reason="stop",
    )
    (seen,) = server.seen
    assert seen.prompt == REQUEST.prompt
    assert {key: seen.payload[key] for key in ("model", "max_tokens", "temperature")} == {
        "model": "fake-vision",
        "max_tokens": 160,
        "temperature": 0,
    }


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((4096, 1024), (2048, 512)),
        ((30, 3000), (20, 2048)),
        ((9000, 1), (2048, 1)),
        ((2048, 9), (2048, 9)),
        ((4032, 3024), (2016, 1512)),
        ((1998, 6000), (666, 2000)),
        ((2000, 6000), (683, 2048)),
    ],
)
def test_large_pictures_are_made_smaller(
    server: FakeChatServer, captioner: RemoteCaptioner, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    """No side is longer than 2048 pixels on the wire, the proportions stay, small pictures are left alone.

    Where whole steps come close to that, nothing in between is computed.
    """
    ask(captioner, picture(size=size))
    assert server.seen[0].image.size == sent


def test_photographs_of_telephones_are_decoded_at_a_half_and_sent_so(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """12 megapixels are never there in full: the decoder makes what is sent."""
    buffer = io.BytesIO()
    Image.new("RGB", (4032, 3024), "teal").save(buffer, "JPEG")
    decoded = decode(buffer.getvalue(), max_pixels=20_000_000, needed_side=captioner.needed_side)
    assert decoded.image.size == (2016, 1512)
    ask(captioner, decoded)
    assert server.seen[0].image.size == (2016, 1512)


def test_any_prompt_arrives_as_it_is(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """Quotation marks, backslashes and what looks like our own request are words like others."""
    prompt = 'What is "url": ""? \\ {"image_url": {"url": ""}} \u2028 \N{CAT FACE}\n'
    captioner.ask(captioner.prepare(picture()), CaptionRequest(prompt, 160))
    assert server.seen[0].prompt == prompt
    assert server.seen[0].image.size == picture().image.size


def test_nothing_of_the_files_metadata_is_sent(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A comment or a place that lies in the file does not leave the house."""
    shown = picture()
    exif = Image.Exif()
    exif[0x010E] = "where we live"
    shown.image.info |= {"comment": b"where we live", "exif": exif.tobytes(), "dpi": (72, 72)}
    ask(captioner, shown)
    assert b"where we live" not in server.seen[0].jpeg


def test_colours_go_out_as_srgb(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A picture in another colour space looks on the wire as it does on a screen, with no profile to read."""
    shown = picture("red")
    # Red and green change places: a colour space that nobody can mistake for sRGB.
    shown.image.info["icc_profile"] = swapped_profile()
    ask(captioner, shown)
    assert describe(server.seen[0].image).endswith("mostly green.")
    assert "icc_profile" not in server.seen[0].image.info


def test_a_broken_colour_profile_stops_nothing(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """What the profile says is lost, the picture is not."""
    shown = picture("red")
    shown.image.info["icc_profile"] = b"no profile"
    assert ask(captioner, shown).text.endswith("mostly red.")


def swapped_profile() -> bytes:
    """sRGB's profile with the tags of red and green exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "grbS".encode("utf-16-be"))


def test_the_key_is_sent_as_a_bearer_token() -> None:
    """A server with a key gets it; one without gets no header."""
    with (
        FakeChatServer(api_key="s3cret") as server,
        closing(captioner_for(server, api_key="s3cret")) as asking,
    ):
        asking.load()
        assert server.seen[0].authorization == "Bearer s3cret"


def test_as_many_requests_are_in_flight_as_the_settings_allow() -> None:
    """max_concurrency requests run side by side, never more, and capacity says so."""
    with (
        FakeChatServer(seconds_per_answer=0.3) as server,
        closing(captioner_for(server, max_concurrency=4)) as captioner,
        ThreadPoolExecutor(12) as callers,
    ):
        assert captioner.capacity == 4
        captions = list(callers.map(lambda _: ask(captioner), range(12)))
        assert len(captions) == 12
        assert server.most_in_flight == 4


def test_waiting_for_a_free_connection_is_no_timeout() -> None:
    """A request's time begins when it is sent, so a long queue alone fails nobody."""
    with (
        FakeChatServer(seconds_per_answer=0.4) as server,
        closing(captioner_for(server, max_concurrency=1, timeout_seconds=1.5)) as captioner,
        ThreadPoolExecutor(5) as callers,
    ):
        assert len(list(callers.map(lambda _: ask(captioner), range(5)))) == 5


def test_the_protocol_is_kept(captioner: RemoteCaptioner) -> None:
    """The pipeline can use it as any other captioner."""
    as_protocol: Captioner[Prepared] = captioner
    assert as_protocol.identity == ModelIdentity("fake-vision", backend="openai")


# ---- what is made of the answer ------------------------------------------------------------------


def test_thoughts_are_no_part_of_the_caption(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A reasoning model's thoughts are taken off, and kept in raw_output."""
    server.script = ["<think>\nRed? Yes.\n</think>\n\nA red wall.<|im_end|>"]
    caption = ask(captioner)
    assert caption.text == "A red wall."
    assert caption.raw_output == "<think>\nRed? Yes.\n</think>\n\nA red wall.<|im_end|>"


def test_a_prepared_picture_is_asked_again(
    server: FakeChatServer, captioner: RemoteCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further questions send the very same JPEG, encoded once, before the words."""
    encoded: list[Image.Image] = []
    save = jpeg.save

    def noting(image: Image.Image, *rest: Any) -> Any:
        encoded.append(image)
        return save(image, *rest)

    monkeypatch.setattr(jpeg, "save", noting)
    prepared = captioner.prepare(picture())
    for words in ("What is this?", "Name three things."):
        assert captioner.ask(prepared, CaptionRequest(words, 20)).text.startswith("A 64 by 48 picture")
    first, second = server.seen[-2:]
    assert first.jpeg == second.jpeg and len(encoded) == 1
    assert (first.prompt, second.prompt) == ("What is this?", "Name three things.")
    for seen in (first, second):
        assert [part["type"] for part in seen.payload["messages"][0]["content"]] == ["image_url", "text"]


def test_several_questions_go_one_after_the_other(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """In their order and never two at once; what goes wrong with one stands in its place."""
    # What is refused, or is no answer, is followed by a question about a plain picture.
    server.script = ["A wall.", fails(400, "odd words"), "plain", "red", sends(b"{}"), "plain", "brick"]
    server.most_in_flight = 0
    requests = [CaptionRequest(words, 20) for words in ("caption", "all text", "colour", "odd", "keywords")]
    caption, refused, colour, odd, keywords = captioner.ask_all(captioner.prepare(picture()), requests)
    assert isinstance(refused, Rejected) and isinstance(odd, TryLater)
    assert [one.text for one in (caption, colour, keywords) if isinstance(one, Answer)] == [
        "A wall.", "red", "brick",
    ]  # fmt: skip
    assert server.most_in_flight == 1


def test_a_second_try_says_how_it_is_to_be_answered(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """Temperature and seed are sent where they are asked for; else 0 and no seed."""
    prepared = captioner.prepare(picture())
    captioner.ask(prepared, REQUEST)
    assert server.seen[-1].payload["temperature"] == 0 and "seed" not in server.seen[-1].payload
    captioner.ask(prepared, CaptionRequest("What is this?", 20, temperature=0.7, seed=5))
    assert (server.seen[-1].payload["temperature"], server.seen[-1].payload["seed"]) == (0.7, 5)


def test_a_cut_off_answer_is_recorded_as_such(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """finish_reason length is kept, and the owner of the picture is told."""
    server.script = [answers("A red", finish_reason="length")]
    caption = ask(captioner)
    assert caption.finish_reason == "length"
    assert [notice.code for notice in caption.notices] == ["cut_off"]


def test_an_answer_in_parts_is_put_together(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """Some servers answer with a list of parts, and without counting tokens."""
    message = {"content": [{"type": "text", "text": "A red "}, {"type": "text", "text": "wall."}]}
    server.script = [sends(json.dumps({"choices": [{"message": message}]}).encode())]
    caption = ask(captioner)
    assert (caption.text, caption.new_tokens, caption.finish_reason) == ("A red wall.", None, "stop")


@pytest.mark.parametrize(
    ("step", "advice"),
    [
        (answers(""), "another prompt"),
        (answers(" \n<|end|>"), "another prompt"),
        (answers(None, reasoning_content="Hm.", finish_reason="length"), "raise caption.max_new_tokens"),
        (answers("<think>Hm, a wall", finish_reason="length"), "raise caption.max_new_tokens"),
    ],
)
def test_no_words_are_no_caption(
    server: FakeChatServer, captioner: RemoteCaptioner, step: Any, advice: str
) -> None:
    """An empty answer sets the picture aside with a reason."""
    server.script = [step] * 3
    interview = Interviewing(FieldQuestion(Question("caption", REQUEST.prompt), REQUEST.max_new_tokens))
    prepared = captioner.prepare(picture())
    with pytest.raises(Rejected) as caught:
        interview(partial(captioner.ask_all, prepared), PictureFacts("JPEG", 64, 48))
    assert (caught.value.kind, caught.value.stage) == ("empty_caption", "caption")
    assert advice in (caught.value.advice or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome</html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": [1]}',
        b"[" * 100_000,
    ],
)
def test_one_odd_answer_is_tried_again(
    server: FakeChatServer, captioner: RemoteCaptioner, body: bytes
) -> None:
    """What is no chat completion is neither a caption nor the picture's fault."""
    server.script = [sends(body)]
    with pytest.raises(TryLater, match="other than a chat completion"):
        ask(captioner)
    assert ask(captioner).text.startswith("A 64 by 48 picture")


def test_an_answer_without_end_is_cut(
    server: FakeChatServer, captioner: RemoteCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server can fill our memory."""
    monkeypatch.setattr(server_module, "LARGEST_ANSWER_BYTES", 1000)
    server.script = [sends(b" " * 100_000)]
    with pytest.raises(TryLater, match="without end"):
        ask(captioner)


def test_half_characters_become_whole_ones(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """No lone surrogate gets from JSON into a caption or its record."""
    server.script = ["A \ud83d wall"]
    caption = ask(captioner)
    assert caption.text == "A \ufffd wall"
    (caption.raw_output or "").encode()


# ---- whose fault it is ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_the_server_says_about_one_picture_sets_it_aside(
    server: FakeChatServer, captioner: RemoteCaptioner, status: int
) -> None:
    """The picture is rejected with the server's own words."""
    server.script = [fails(status, "image is too\nodd")]
    with pytest.raises(Rejected, match=f"answers {status}: image is too odd") as caught:
        ask(captioner)
    assert (caught.value.kind, caught.value.stage) == ("refused_by_server", "caption")


def test_a_server_that_refuses_every_picture_fails_none(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """Started anew without its vision part it answers 400 to all: that is the server's trouble."""
    server.script = [fails(400, "fake-vision is not a multimodal model")] * 2
    with pytest.raises(Surroundings, match=r"takes no pictures any more: .* not a multimodal model"):
        ask(captioner)


@pytest.mark.parametrize(
    "step",
    [
        sends(b"<html>Sign in to the guest network</html>"),
        sends(b'{"choices": []}'),
        sends(b" " * 5_000_000),
        sends(b""),
        fails(500),
        fails(400),
    ],
)
def test_a_server_that_answers_nothing_of_use_to_anybody_fails_no_picture(
    server: FakeChatServer, captioner: RemoteCaptioner, step: Any
) -> None:
    """A proxy's page in its place, errors, silence: where a plain picture gets the same, the work pauses."""
    shown = picture(size=(90, 33))
    server.always = step
    try:
        for _ in range(5):  # more often than a picture is tried
            with pytest.raises(Surroundings):
                ask(captioner, shown)
    finally:
        server.always = None
    assert ask(captioner, shown).text.startswith("A 90 by 33 picture")


@pytest.mark.parametrize(
    "step", [answers(None, refusal="I cannot help with that."), answers("", finish_reason="content_filter")]
)
def test_a_refusal_sets_the_picture_aside(
    server: FakeChatServer, captioner: RemoteCaptioner, step: Any
) -> None:
    """A model that will not speak of a picture is not asked again."""
    server.script = [step]
    with pytest.raises(Rejected, match="the model refuses") as caught:
        ask(captioner)
    assert caught.value.kind == "refused_by_server"


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (301, "redirects to"),
        (401, "model.api_key_file"),
        (402, "server's log"),
        (403, "model.api_key_file"),
        (404, "model.id"),
        (429, "max_concurrency"),
        (500, "server's log"),
        (502, "server's log"),
        (503, "server's log"),
    ],
)
def test_trouble_with_the_server_is_nobodys_fault(
    server: FakeChatServer, captioner: RemoteCaptioner, status: int, advice: str
) -> None:
    """The work pauses with a clear word, no picture is charged, and one request was made, not many."""
    server.script = [fails(status)]
    with pytest.raises(Surroundings, match=f"answers {status}: something is wrong") as caught:
        ask(captioner)
    assert server.url in caught.value.message
    assert advice in (caught.value.advice or "")
    assert len(server.seen) == 1
    assert ask(captioner).text


def test_a_dead_server_is_told_with_its_address() -> None:
    """Connection refused names the URL and what to do."""
    with closing(RemoteCaptioner(base_url="http://127.0.0.1:1/v1", model_id="m")) as captioner:
        with pytest.raises(Surroundings, match=r"http://127\.0\.0\.1:1/v1 cannot be reached") as caught:
            ask(captioner)
        assert "base_url" in (caught.value.advice or "")


def test_a_server_that_hangs_up_is_trouble_for_all(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """A server killed in the middle of an answer costs no picture its place."""
    server.script = [hangs_up]
    with pytest.raises(Surroundings, match="cannot be reached"):
        ask(captioner)


@pytest.mark.parametrize("step", [sleeps(10.0), trickles(10.0)])
def test_a_server_that_does_not_come_to_an_end_is_left(server: FakeChatServer, step: Any) -> None:
    """One request takes timeout_seconds at most, whether the server is silent or trickles."""
    server.script = [step]
    with closing(captioner_for(server, timeout_seconds=0.2)) as captioner:
        begun = time.monotonic()
        with pytest.raises(Surroundings, match=r"did not answer within 0\.2 s"):
            ask(captioner)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for_once(
    server: FakeChatServer, captioner: RemoteCaptioner, status: int
) -> None:
    """Retry-After is respected; who is then still busy is trouble."""
    server.script = [fails(status, Retry_After="0.2")]
    begun = time.monotonic()
    assert ask(captioner).text
    assert time.monotonic() - begun >= 0.2
    server.script = [fails(status, Retry_After="0"), fails(status, Retry_After="0")]
    with pytest.raises(Surroundings, match=f"answers {status}"):
        ask(captioner)
    assert len(server.seen) == 4


def test_nobody_is_waited_for_too_long(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A server that wants an hour gets a pause, not a thread that sleeps."""
    server.script = [fails(503, Retry_After="3600")]
    with pytest.raises(Surroundings):
        ask(captioner)


def test_retry_after_may_be_a_date() -> None:
    """Both forms of the header are understood, and nonsense is no form."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    assert 8 < (chat.retry_after(soon) or 0) <= 10
    assert chat.retry_after("Mon, 01 Jan 2024 00:00:00 GMT") == 0
    for nonsense in (None, "soon", "nan", "inf", "3600", ""):
        assert chat.retry_after(nonsense) is None


def test_a_stop_does_not_wait_for_a_busy_server(server: FakeChatServer) -> None:
    """`close` wakes whoever waits for Retry-After."""
    server.script = [fails(429, Retry_After="25")]
    captioner = captioner_for(server)
    threading.Timer(0.2, captioner.close).start()
    with pytest.raises(Surroundings, match="stopping"):
        ask(captioner)


def test_a_picture_that_a_server_keeps_failing_on_is_charged(server: FakeChatServer) -> None:
    """500 pauses the work, but 500 on the same picture while others are answered is that picture's matter."""
    bad, good = picture("purple"), picture("blue")
    server.script = [fails(500), fails(500), describe(good.image), fails(500)]
    with closing(captioner_for(server)) as captioner:  # one that has seen no failure be mended
        for _ in range(2):  # nobody was answered in between: the server may be ill
            with pytest.raises(Surroundings):
                ask(captioner, bad)
        assert ask(captioner, good).text
        with pytest.raises(TryLater, match="while it answers others"):
            ask(captioner, bad)


def test_a_server_of_which_a_part_is_ill_charges_nobody(server: FakeChatServer) -> None:
    """For a while after answers to questions that had failed, 500 is no picture's fault."""
    bad, good = picture("purple"), picture("blue")
    with closing(captioner_for(server)) as captioner:
        for colour in ("green", "red"):
            one = picture(colour)
            server.script = [fails(500), describe(one.image)]
            with pytest.raises(Surroundings):
                ask(captioner, one)
            assert ask(captioner, one).text
        server.script = [fails(500), describe(good.image), fails(500)]
        with pytest.raises(Surroundings):
            ask(captioner, bad)
        assert ask(captioner, good).text
        with pytest.raises(Surroundings):
            ask(captioner, bad)


# ---- load ----------------------------------------------------------------------------------------


def test_ready_means_that_an_answer_came(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """`load` looks for the server and asks about two plain pictures in full size; an odd word will do."""
    server.script = [answers("", finish_reason="length"), answers("", finish_reason="length")]
    captioner.load()
    assert [seen.image.size for seen in server.seen] == [(2048, 1536)] * 2
    assert not captioner.may_be_blind


def test_a_model_that_sees_is_told_from_one_that_does_not(
    server: FakeChatServer, captioner: RemoteCaptioner
) -> None:
    """Who says the same of red and of blue is warned of: some servers drop pictures without a word."""
    captioner.load()
    assert not captioner.may_be_blind
    server.script = ["I see no image.", "I see no image."]
    with capture_logs() as logs:
        captioner.load()
    assert captioner.may_be_blind
    assert [entry["log_level"] for entry in logs if "does not seem to see" in entry["event"]] == ["warning"]


NO_THINKING = ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"})


@pytest.mark.parametrize(
    "unknown",
    [(), ("chat_template_kwargs",), ("reasoning_effort",), ("chat_template_kwargs", "reasoning_effort")],
)
def test_a_model_is_asked_not_to_think_as_far_as_the_server_lets_it(
    server: FakeChatServer, captioner: RemoteCaptioner, unknown: tuple[str, ...]
) -> None:
    """Fields that turn reasoning off go out; a server that refuses one is asked without it."""

    def refuse_unknown(handler: Handler) -> None:
        payload = handler.seen.payload
        if surplus := set(unknown) & set(payload):
            handler.complain(422, f"extra fields not permitted: {sorted(surplus)}")
        else:
            handler.say(describe(handler.seen.image))

    server.always = refuse_unknown
    try:
        captioner.load()
        server.seen = []
        assert ask(captioner).text
    finally:
        server.always = None
    (seen,) = server.seen
    sent = {
        name for fields in NO_THINKING for name, value in fields.items() if seen.payload.get(name) == value
    }
    assert sent == {"chat_template_kwargs", "reasoning_effort"} - set(unknown)


def test_a_server_without_a_list_of_models_will_do() -> None:
    """404 at /models says nothing about chat completions."""
    with FakeChatServer(lists_models=False) as server, closing(captioner_for(server)) as captioner:
        captioner.load()


def test_a_model_the_server_does_not_have_is_told_with_those_it_has(server: FakeChatServer) -> None:
    """A wrong model.id is answered with the right one."""
    with closing(captioner_for(server, model_id="gone")) as captioner:
        with pytest.raises(Surroundings, match="`gone` does not exist") as caught:
            captioner.load()
        assert caught.value.advice == "Set model.id to what the server has: fake-vision."


def test_a_wrong_key_is_told_at_load() -> None:
    """401 says which setting holds the key, and never the key."""
    with (
        FakeChatServer(api_key="s3cret") as server,
        closing(captioner_for(server, api_key="wr0ng")) as asking,
    ):
        with pytest.raises(Surroundings, match="401") as caught:
            asking.load()
        assert "model.api_key_file" in (caught.value.advice or "")
        assert "wr0ng" not in f"{caught.value}{caught.value.advice}{asking!r}"


def test_a_server_that_quotes_the_key_gives_nothing_away(server: FakeChatServer) -> None:
    """Some servers repeat the key that they refuse; it is no part of what is logged."""
    server.script = [fails(401, "Incorrect API key provided: wr0ng-key.")]
    with closing(captioner_for(server, api_key="wr0ng-key")) as asking:
        with pytest.raises(Surroundings, match=r"provided: \*\*\*") as caught:
            ask(asking)
        assert "wr0ng-key" not in f"{caught.value}{caught.value.advice}"


def test_a_model_that_cannot_see_does_not_start(server: FakeChatServer, captioner: RemoteCaptioner) -> None:
    """A text-only model would refuse the whole inbox, one by one; it is refused instead."""
    server.script = [fails(400, "fake-vision is not a multimodal model")] * 4
    with pytest.raises(CannotStart, match=r"takes no pictures: .*not a multimodal model") as caught:
        captioner.load()
    assert caught.value.exit_code is ExitCode.WRONG_SETTINGS


def test_a_wrong_address_is_told_at_load(server: FakeChatServer) -> None:
    """A server that answers, but not as a chat server does, leads to model.base_url."""
    server.script = [sends(b"<html>")]
    with closing(captioner_for(server)) as captioner:
        with pytest.raises(Surroundings) as caught:
            captioner.load()
        assert "/v1" in (caught.value.advice or "")


def test_a_silent_port_is_left_in_time() -> None:
    """Something that listens and never speaks is trouble after timeout_seconds, at load as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        captioner = RemoteCaptioner(base_url=url, model_id="m", timeout_seconds=0.2)
        with closing(captioner), pytest.raises(Surroundings, match="did not answer within"):
            captioner.load()


# ---- clean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "caption"),
    [
        ("  Two dogs.\n\nOn a beach.\t ", "Two dogs. On a beach."),
        ("<think>dogs?</think>Two dogs.<|end|><|endoftext|>", "Two dogs."),
        ("dogs, surely\n</think>\nTwo dogs.", "Two dogs."),
        ("<think>I never came to an end", ""),
        ("Two dogs.</s>", "Two dogs."),
        ("Cafe\u0301\u2028bar\u00a0\x00\x1b[2J", "Café bar"),
        ("1 < 2 and a <b>sign</b>", "1 < 2 and a <b>sign</b>"),
        ("狗。\n👩\u200d🚀", "狗。 👩\u200d🚀"),
        ("", ""),
    ],
)
def test_captions_are_cleaned(raw: str, caption: str) -> None:
    """Thoughts, frames and line breaks go, every word stays."""
    assert clean(raw) == caption


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Zs", "Zl", "Mn", "Ll"])))
def test_a_caption_is_one_line_of_valid_text(raw: str) -> None:
    """Whatever a model says, the caption is one trimmed line in NFC that can be written anywhere."""
    caption = clean(raw)
    caption.encode()
    assert len(caption.splitlines()) <= 1
    assert caption == caption.strip() == unicodedata.normalize("NFC", caption)
    assert not any(unicodedata.category(char) == "Cc" for char in caption)
