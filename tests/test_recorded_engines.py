"""What real servers answered is read for what it is; `make engines` compares the records with the servers."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.captioners.remote import RemoteCaptioner
from captiond.errors import CannotStart, Surroundings, Verdict
from captiond.records import CaptionRequest, Picture, PictureFacts
from engines.recording import RECORDED, WORDS
from fake_chat_server import FakeChatServer, sends

REQUEST = CaptionRequest("Describe this.", 4)
PICTURE = Picture(Image.new("RGB", (64, 48), "teal"), PictureFacts("JPEG", 64, 48))
FILES = sorted(RECORDED.glob("*.json"))


@pytest.fixture(params=FILES, ids=[file.stem for file in FILES])
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    file: Path = request.param
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _plays(server: FakeChatServer, answer: dict[str, Any]) -> None:
    server.always = sends(json.dumps(answer["body"]).encode(), answer["status"])


def _captioner(server: FakeChatServer, model_id: str = "nonsense") -> RemoteCaptioner:
    return RemoteCaptioner(base_url=server.url, model_id=model_id)


def test_a_completion_is_read_whole(server: FakeChatServer, recorded: dict[str, Any]) -> None:
    """Text, tokens, why it ended, and which model answered."""
    _plays(server, recorded["completion"])
    with closing(_captioner(server)) as captioner:
        answer = captioner.ask(captioner.prepare(PICTURE), REQUEST)
    body = recorded["completion"]["body"]
    assert answer.text == WORDS and answer.finish_reason == body["choices"][0]["finish_reason"]
    assert answer.new_tokens == body["usage"]["completion_tokens"] > 0
    assert answer.prompt_tokens == body["usage"]["prompt_tokens"] > 8
    assert answer.model.served_as == body["model"]


def test_an_error_is_sorted_by_what_to_do_next(server: FakeChatServer, recorded: dict[str, Any]) -> None:
    """A wrong key and a wrong name are trouble for all, a context too small for any picture is no start."""
    verdicts: dict[str, tuple[type[Verdict], str]] = {
        "wrong_key": (Surroundings, "model.api_key_file"),
        "wrong_model": (Surroundings, "model.id"),
        "too_long": (CannotStart, "larger context"),
    }
    for name, (verdict, advice) in verdicts.items():
        answer = recorded[name]
        if answer["status"] in (200, 500):  # it took anything, or does not say what is wrong
            continue
        _plays(server, answer)
        with closing(_captioner(server)) as captioner, pytest.raises(verdict) as caught:
            captioner.load()
        assert advice in (caught.value.advice or ""), name
