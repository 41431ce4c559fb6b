"""Other families' rows come and go, and each says what it would say alone; see also `make engines`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from captiond.captioners.auto import AutoEngine
from captiond.captioners.batches import Completion, Question
from captiond.captioners.local import LocalCaptioner
from captiond.records import Answer, CaptionRequest, Picture, PictureFacts
from tiny_captioners import CAPTIONERS
from tiny_families import FAMILIES, save

SIZES = [(64, 64), (50, 200), (120, 60), (200, 200), (30, 90)]
LIMITS = [3, 12, 1, 8, 5, 2]
ASKED = "Describe what is shown in this image."


# Prompts of several lengths, and positions in several dimensions; for the others there is `make engines`.
QUICK = ["idefics3", "qwen2_vl"]
SLOW = [pytest.param(name, marks=pytest.mark.engines) for name in FAMILIES if name not in QUICK]


@pytest.fixture(scope="module", params=[*QUICK, *SLOW])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one of several families."""
    return save(request.param, tmp_path_factory.mktemp("family") / "checkpoint")


def _engine(folder: Path, *, dtype: torch.dtype = torch.float32, is_continuous: bool = True) -> AutoEngine:
    engine = AutoEngine(folder, {"dtype": dtype})
    if not is_continuous:
        engine.batch = None
    return engine


def _pictures() -> Iterator[Image.Image]:
    disc = Image.radial_gradient("L").convert("RGB")
    for number in range(len(LIMITS)):
        yield disc.resize(SIZES[number % len(SIZES)]).rotate(20 * number)


def _questions(engine: AutoEngine, limits: Sequence[int] = LIMITS) -> list[Question]:
    """Pictures of many sizes, prompts and limits of several lengths."""
    return [
        engine.question(picture, CaptionRequest(ASKED[: 20 + number], limit))
        for number, (picture, limit) in enumerate(zip(_pictures(), limits, strict=False))
    ]


def _at_once(questions: Sequence[Question], most: int = 99) -> Callable[[int], list[Question]]:
    left = list(questions)

    def more(room: int) -> list[Question]:
        taken = left[: min(room, most)]
        del left[: len(taken)]
        return taken

    return more


def _said(engine: AutoEngine, more: Any, slots: int) -> dict[int, Completion]:
    return {id(question): completion for question, completion in engine.completions(more, slots)}


def _alone(folder: Path, questions: Sequence[Question]) -> dict[int, Completion]:
    """What transformers' `generate` makes of each by itself."""
    engine = _engine(folder, is_continuous=False)
    found: dict[int, Completion] = {}
    for question in questions:
        found |= _said(engine, _at_once([question]), 1)
    return found


def _change(folder: Path, target: Path, file: str, **values: Any) -> Path:
    """The same checkpoint with other values in one of its files."""
    target.mkdir()
    for one in folder.iterdir():
        (target / one.name).symlink_to(one)
    kept = json.loads((folder / file).read_text())
    (target / file).unlink()
    (target / file).write_text(json.dumps({**kept, **values}))
    return target


def test_rows_that_come_and_go_say_what_they_say_alone(folder: Path) -> None:
    """Whether rows arrive together or one by one while others are at work, in few slots or many."""
    engine = _engine(folder)
    assert engine.batch is not None
    questions = _questions(engine)
    alone = _alone(folder, questions)
    assert len({completion.text for completion in alone.values()}) > len(LIMITS) // 2
    for slots, most in ((1, 1), (3, 99), (8, 2)):
        assert _said(engine, _at_once(questions, most), slots) == alone


def test_a_long_answer_holds_nobody_up(folder: Path) -> None:
    """Short answers that came after a long one leave before it, and others take their places."""
    engine = _engine(folder)
    limits = [12, 2, 2, 2, 2, 2]
    questions = _questions(engine, limits)
    order = [question for question, _ in engine.completions(_at_once(questions), 2)]
    assert order[-1] is questions[0]


def test_each_row_stops_where_it_would_alone(folder: Path, tmp_path: Path) -> None:
    """Any of several stop tokens ends an answer, counted and not shown, while the others go on."""
    engine = _engine(folder)
    limits = [12] * len(LIMITS)
    texts = [one.text for one in _said(engine, _at_once(_questions(engine, limits)), 3).values()]
    ends = [engine._processor.tokenizer.convert_tokens_to_ids(letter) for letter in texts[0][4] + texts[1][2]]
    ending = _change(folder, tmp_path / "ends", "generation_config.json", eos_token_id=ends)
    engine = _engine(ending)
    questions = _questions(engine, limits)
    alone = _alone(ending, questions)
    assert _said(engine, _at_once(questions), 3) == alone
    assert len({completion.new_tokens for completion in alone.values()}) > 1
    assert any(completion.is_finished for completion in alone.values())


def test_a_penalty_that_the_checkpoint_asks_for_is_each_rows_own(tmp_path: Path) -> None:
    """What a row has said before is held against that row alone, as `generate` does it."""
    plain = save("llava", tmp_path / "plain")
    penalties = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    steered = _change(plain, tmp_path / "steered", "generation_config.json", **penalties)
    engine = _engine(steered)
    assert engine.batch is not None
    questions = _questions(engine)
    alone = _alone(steered, questions)
    assert _said(_engine(plain), _at_once(questions), 3) != alone
    assert _said(engine, _at_once(questions), 3) == alone


class _Telling(AutoEngine):
    """Tells how many questions it left to `generate`."""

    left_to_generate = 0

    def _generate(self, batch: Any, request: CaptionRequest) -> list[Completion]:
        self.left_to_generate += len(batch)
        return super()._generate(batch, request)


def _those_that_fit_join(folder: Path, limits: list[int], longest: int) -> None:
    """Only rows that may become longer than `longest` are `generate`'s; all say what they say alone."""
    engine = _Telling(folder, {"dtype": torch.float32})
    questions = _questions(engine, limits)
    said = _said(engine, _at_once(questions), 2)
    assert said == _alone(folder, questions)
    lengths = [said[id(one)].prompt_tokens + one.request.max_new_tokens for one in questions]
    assert longest in lengths and longest + 1 in lengths
    assert engine.left_to_generate == sum(length > longest for length in lengths)


def test_a_row_that_would_outgrow_a_window_is_left_to_generate(tmp_path: Path) -> None:
    """Where some layer forgets its first places, a long answer is `generate`'s, among others that fit."""
    made = save("gemma3", tmp_path / "made")
    text = json.loads((made / "config.json").read_text())["text_config"]
    folder = _change(made, tmp_path / "short", "config.json", text_config={**text, "sliding_window": 70})
    _those_that_fit_join(folder, [33, 4, 31, 31], 70)


def test_a_row_that_would_change_its_neighbours_frequencies_is_left_to_generate(tmp_path: Path) -> None:
    """With rotary frequencies that hang on the longest row, those beyond the first ones go by themselves."""
    made = save("llava", tmp_path / "made")
    text = json.loads((made / "config.json").read_text())["text_config"]
    rope = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0}
    text |= {"max_position_embeddings": 80, "rope_parameters": rope}
    folder = _change(made, tmp_path / "dynamic", "config.json", text_config=text)
    _those_that_fit_join(folder, [37, 4, 35, 35], 80)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["git", "vit-gpt2", "blip"])
def test_families_that_need_more_are_served_in_whole_batches(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """GIT takes positions from the cache's length, which 16 bits do not hide; the others have an encoder."""
    engine = _engine(save(family, tmp_path, CAPTIONERS), dtype=dtype)
    assert engine.batch is None
    questions = [engine.question(picture, CaptionRequest(ASKED, 4)) for picture in _pictures()]
    assert all(completion.text for completion in _said(engine, _at_once(questions), 3).values())


def test_a_question_that_fails_fails_alone(tmp_path: Path) -> None:
    """One that the processor refuses costs none of those beside it their answers."""
    captioner = LocalCaptioner(model_id=str(save("llava", tmp_path)), device="cpu", batch_size=4)
    captioner.load()
    pictures = [Picture(image, PictureFacts("PNG", *image.size)) for image in _pictures()]
    prepared = [captioner.prepare(picture) for picture in pictures]
    good, bad = CaptionRequest(ASKED, 8), CaptionRequest("<image> <image> again", 8)
    alone = [captioner.ask(one, good).text for one in prepared]

    def asked(number: int) -> Answer | Exception:
        try:
            return captioner.ask(prepared[number], bad if number == 2 else good)
        except (ValueError, RuntimeError, IndexError, StopIteration) as error:
            return error

    with ThreadPoolExecutor(len(prepared)) as callers:
        answers = list(callers.map(asked, range(len(prepared))))
    captioner.close()
    assert isinstance(answers[2], Exception)
    others = [(answer, text) for answer, text in zip(answers, alone, strict=True) if answer is not answers[2]]
    assert all(isinstance(answer, Answer) and answer.text == text for answer, text in others)
