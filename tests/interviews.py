"""What several files of tests ask about a picture: five questions, and the words that answer them."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from captiond.checking import Question
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import FieldName, Picture, PictureFacts
from fake_chat_server import Handler

FACTS = PictureFacts("PNG", 60, 40)
WORDS = {
    "caption": "Two dogs run along a beach at sunset.",
    "alt_text": "Two dogs running on a beach.",
    "title": "Dogs at Sunset",
    "keywords": "dogs, dog, beach, sunset, two dogs running very fast",
    "visible_text": "",
}
PROMPTS = {name: f"Ask for {name.replace('_', ' ')}." for name in WORDS}


def question(name: FieldName, **more: Any) -> FieldQuestion:
    return FieldQuestion(Question(name, PROMPTS[name], plain_prompt=f"Plainly: {name}.", **more), 60)


def interviewing(*others: FieldName, **more: Any) -> Interviewing:
    return Interviewing(question("caption"), tuple(question(name) for name in others), **more)


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (shade, 255 - shade, 80)).save(buffer, "PNG")
    return buffer.getvalue()


def by_prompt(handler: Handler) -> None:
    prompt = handler.seen.prompt
    handler.say(next((WORDS[name] for name, asked in PROMPTS.items() if asked in prompt), WORDS["caption"]))


ALL: dict[str, dict[str, Any]] = {
    "caption": {"prompt": PROMPTS["caption"]},
    "fields": {
        "wanted": ["caption", "alt_text", "title", "keywords", "visible_text"],
        **{f"{name}_prompt": PROMPTS[name] for name in WORDS if name != "caption"},
    },
}


def plain_picture() -> Picture:
    return Picture(Image.new("RGB", (60, 40), "red"), FACTS)
