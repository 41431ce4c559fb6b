"""One answer to many different pictures: is the model at fault, or are the pictures alike?

A server that drops pictures, or a broken model, says the same about everything, and so does an honest model
about a hundred blank scans.  Two plain test pictures tell which: if they get one answer as well, the work
pauses and no picture is charged; it goes on by itself once they get two.
"""

from __future__ import annotations

import threading
from typing import Generic

from PIL import Image, ImageDraw

from captiond import checking
from captiond.captioners import Captioner, Prepared
from captiond.checking import Repeats
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.records import Answer, CaptionRequest, Picture, PictureFacts, Said

_SIDE = 336
_MOST_TOKENS = 40


class SameAnswer(Generic[Prepared]):
    """Safe to use from many threads.  Each of several servers is counted, suspected and tested by itself."""

    def __init__(self, captioner: Captioner[Prepared], limit: int) -> None:
        """`limit`: so many different pictures in a row with one answer are suspicious."""
        self._captioner = captioner
        self._repeats = Repeats(limit)
        self._testing = threading.Lock()
        self._suspected: set[str] = set()  # servers, until two test pictures get two answers there

    def must_differ(self, said: Said, picture: str) -> None:
        """Raises: Surroundings, if the model does not tell pictures apart.  `picture`: its sha256."""
        server = said.answer.server or ""
        is_odd = self._repeats.should_test(said.texts.caption, picture, server)
        if not is_odd and server not in self._suspected:
            return
        with self._testing:
            is_blind = self._is_blind(said.answer)
            (self._suspected.add if is_blind else self._suspected.discard)(server)
        if is_blind:
            where = f" on {server}" if server else ""
            raise Surroundings(
                f"the model{where} says the same about every picture: {said.texts.caption[:100]!r}",
                advice="It may not see them: does the server take pictures, and is its model one for them? "
                "Work goes on by itself when two plain test pictures get different answers.",
            )

    def _is_blind(self, suspect: Answer) -> bool:
        """Whether the server that gave this answer says the same about both test pictures."""
        answers = [self._answer(test, suspect) for test in _test_pictures()]
        told = [answer.text for answer in answers if answer is not None and answer.server == suspect.server]
        return len(told) == len(answers) and checking.are_one(*told)

    def _answer(self, picture: Picture, suspect: Answer) -> Answer | None:
        """None if there was no answer, which says nothing."""
        request = suspect.request
        tokens = min(request.max_new_tokens, _MOST_TOKENS)
        asked = CaptionRequest(request.prompt, tokens, server=suspect.server)
        try:
            return self._captioner.ask(self._captioner.prepare(picture), asked)
        except (Rejected, TryLater):
            return None


def _test_pictures() -> tuple[Picture, Picture]:
    """A white disc on red, and yellow bars on blue: a model that sees them does not say the same of both."""
    disc, bars = Image.new("RGB", (_SIDE, _SIDE), "red"), Image.new("RGB", (_SIDE, _SIDE), "blue")
    ImageDraw.Draw(disc).ellipse((100, 100, 236, 236), fill="white")
    for left in range(40, _SIDE, 112):
        ImageDraw.Draw(bars).rectangle((left, 0, left + 27, _SIDE), fill="yellow")
    facts = PictureFacts("PNG", _SIDE, _SIDE)
    return Picture(disc, facts), Picture(bars, facts)
