"""From what a model said to a caption: pure, and the same for every model.

It removes what is no part of the description (a reasoning model's thoughts, the tokens that frame a turn,
line breaks, what `characters` forbids) and changes no word.  The result is one line of valid Unicode in NFC,
or empty if the model said nothing.
"""

from __future__ import annotations

import re

from captiond import characters

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # cut off while thinking: no answer came
_FRAMES = re.compile(r"<\|[\w-]{1,40}\|>|</?s>")  # <|end|>, <|im_end|>, <|endoftext|>, </s>


def clean(raw: str) -> str:
    """The caption in what a model said."""
    text = _THOUGHTS.sub("", raw)
    # Some chat templates write <think> into the prompt, so that the answer holds only </think>.
    text = text.rpartition("</think>")[2]
    return " ".join(characters.line(_FRAMES.sub("", text)).split())
