"""Every family known to work loads, says the same in a batch as alone, sees upright and stops.

What it says alone is what transformers' `generate` makes of it; beside others, it is served as in the daemon.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny_captioners
import tiny_families
from captiond.captioners.auto import AutoEngine
from captiond.captioners.batches import Completion
from captiond.records import CaptionRequest
from engines import families

ALL = {**tiny_families.FAMILIES, **families.FAMILIES, **tiny_captioners.CAPTIONERS}
NEW_TOKENS = 8
REQUEST = CaptionRequest("Describe what is shown in this image.", NEW_TOKENS)
SIZES = [(64, 64), (120, 60), (50, 200)]

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(300),
    # GLM-4V's and PaliGemma's processors make NumPy say so
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


class Listening:
    """An engine, and what its network was given and gave back last."""

    def __init__(self, folder: Path, *, is_continuous: bool = True) -> None:
        self.engine = AutoEngine(folder, {"dtype": torch.float32})
        if not is_continuous:
            self.engine.batch = None
        model: Any = self.engine.model
        generate = model.generate

        def kept(**given: Any) -> Any:
            self.given, self.sequences = given, generate(**given)
            return self.sequences

        model.generate = kept

    def say(
        self,
        images: Sequence[Image.Image],
        together: int,
        requests: Sequence[CaptionRequest] = (),
        most: int = 99,
    ) -> list[Completion]:
        """At most `together` at a time, of which `most` come at once."""
        asked = zip(images, requests or [REQUEST] * len(images), strict=True)
        questions = [self.engine.question(self.engine.prepare(image), request) for image, request in asked]
        order = [id(question) for question in questions]
        left = list(questions)

        def more(room: int) -> list[Any]:
            taken = left[: min(room, most)]
            del left[: len(taken)]
            return taken

        said = {id(question): completion for question, completion in self.engine.completions(more, together)}
        return [said[number] for number in order]


def _pictures() -> list[Image.Image]:
    disc = Image.radial_gradient("L").convert("RGB")
    return [disc.resize(size) for size in SIZES]


@pytest.fixture(scope="module", params=ALL)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = request.param
    if family in families.NEED_TORCHVISION:
        pytest.importorskip("torchvision")
    return tiny_families.save(family, tmp_path_factory.mktemp("family") / family, ALL)


def test_thirty_families() -> None:
    """As many as are promised, each with a checkpoint of its own."""
    assert len(ALL) - len(families.NEED_TORCHVISION) >= 30


def test_it_is_served_as_the_page_on_models_says(folder: Path) -> None:
    """Row by row, if its decoder is a plain one; else in whole batches."""
    is_whole = AutoEngine(folder, {"dtype": torch.float32}).batch is None
    assert is_whole == (folder.name in families.IN_WHOLE_BATCHES)


def test_it_says_the_same_in_a_batch_as_alone(folder: Path) -> None:
    """Something is said about each picture, whatever it is asked beside; nothing is lost at the beginning."""
    listening = Listening(folder, is_continuous=False)
    alone = listening.say(_pictures(), 1)
    last = listening.sequences[0, -NEW_TOKENS:].tolist()
    for served in (listening, Listening(folder)):
        together = served.say(_pictures(), 3)
        assert [one.text for one in together] == [one.text for one in alone]
    assert [one.new_tokens for one in alone] == [NEW_TOKENS] * 3 and all(one.prompt_tokens for one in alone)
    assert not any(one.is_finished for one in alone)
    tokenizer = listening.engine._processor.tokenizer
    assert alone[-1].text == tokenizer.decode(last, skip_special_tokens=True).strip() != ""


def test_questions_that_come_and_go_are_answered_as_alone(folder: Path) -> None:
    """Of several lengths, each coming while others are in the middle of theirs."""
    pictures = [*_pictures(), *(picture.rotate(30) for picture in _pictures())]
    requests = [CaptionRequest(REQUEST.prompt, limit) for limit in (9, 2, 5, 1, 7, 4)]
    alone = Listening(folder, is_continuous=False).say(pictures, 1, requests)
    served = Listening(folder)
    assert served.say(pictures, 2, requests, most=1) == alone
    assert served.say(pictures, 4, requests) == alone


def test_it_sees_upright(folder: Path) -> None:
    """What is bright above is bright in the upper half of what the network gets."""
    listening = Listening(folder)
    picture = Image.new("RGB", (112, 112), "black")
    picture.paste("white", (0, 0, 112, 56))
    listening.say([picture], 1)
    given = listening.given  # Video-LLaVA has another name for it
    (name,) = given.keys() & {"pixel_values", "pixel_values_images"}
    pixels = given[name].float()
    rows = pixels.shape[-2] if pixels.shape[-1] == pixels.shape[-2] or pixels.dim() > 3 else 0
    if not rows:  # patches in a row, from the upper left
        pixels = pixels.reshape(-1, pixels.shape[-1]).mean(dim=1, keepdim=True)
        rows = len(pixels)
    upper, lower = pixels[..., : rows // 2, :].mean(), pixels[..., rows - rows // 2 :, :].mean()
    assert upper > lower + 0.1


def test_it_stops_where_it_says_so(folder: Path, tmp_path: Path) -> None:
    """The end token ends the answer, counted and not shown; in a batch the others go on."""
    listening = Listening(folder, is_continuous=False)
    listening.say(_pictures()[:1], 1)
    said: list[int] = listening.sequences[0, -NEW_TOKENS:].tolist()
    end = next((token for token in said if token != said[0]), said[0])
    _end_with(folder, end, tmp_path / "ends")
    ending = Listening(tmp_path / "ends")
    (one,) = ending.say(_pictures()[:1], 1)
    assert (one.new_tokens, one.is_finished) == (said.index(end), True)
    together = ending.say(_pictures(), 3)
    assert together == Listening(tmp_path / "ends", is_continuous=False).say(_pictures(), 1)
    tokenizer = ending.engine._processor.tokenizer
    assert one.text == tokenizer.decode(said[: said.index(end)], skip_special_tokens=True).strip()


def _end_with(folder: Path, token: int, target: Path) -> None:
    """The same checkpoint, which says that another token ends an answer."""
    target.mkdir()
    for file in folder.iterdir():
        if file.name in ("config.json", "generation_config.json"):
            config = json.loads(file.read_text())
            for part in (config, config.get("text_config"), config.get("decoder")):
                if isinstance(part, dict):
                    part.update({"eos_token_id": token, "sep_token_id": token})
            (target / file.name).write_text(json.dumps(config))
        elif file.is_file():
            (target / file.name).symlink_to(file)
        else:
            (target / file.name).symlink_to(file, target_is_directory=True)
