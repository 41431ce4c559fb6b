"""The model on this machine: full batches for many callers, and one caller's trouble stays his own."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from captiond.captioners.batches import Completion, More, Question
from captiond.captioners.local import LocalCaptioner
from captiond.captioners.placement import placement
from captiond.checking import Question as Checked
from captiond.demo import scenes
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings
from captiond.phi3v import Decoder
from captiond.phi3v.tower import Phi3VImageEmbedding
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import CaptionRequest, Picture, PictureFacts

GOLDEN = Path(__file__).parent / "phi3v" / "golden"
REQUEST = CaptionRequest("Describe the image in one sentence.", 8)
INTERVIEW = Interviewing(FieldQuestion(Checked("caption", REQUEST.prompt), REQUEST.max_new_tokens))


def _picture(name: str) -> Picture:
    image = Image.open(GOLDEN / "images" / f"{name}.png").convert("RGB")
    return Picture(image, PictureFacts("PNG", *image.size))


def _blank(shade: int = 128) -> Picture:
    return Picture(Image.new("RGB", (32, 32), (shade, shade, shade)), PictureFacts("PNG", 32, 32))


class FakeModel:
    device = torch.device("cpu")


class FakeEngine:
    """An engine whose memory holds `fits` pictures at once, and which chokes on black ones."""

    model: Any = FakeModel()

    def __init__(self, fits: int = 1000, trouble: RuntimeError | None = None) -> None:
        self.fits = fits
        self.trouble = trouble or torch.OutOfMemoryError("no room")
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def needed_side(self, width: int, height: int) -> int | None:
        return None

    def prepare(self, image: Image.Image) -> Any:
        return image.getpixel((0, 0))[0]  # type: ignore[index]

    def question(self, prepared: Any, request: CaptionRequest) -> Any:
        return Question(prepared, request)

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        return 8

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Any, Completion]]:
        while batch := more(batch_size):
            completions = self.generate([question.inputs for question in batch])
            yield from zip(batch, completions, strict=True)

    def generate(self, batch: Sequence[Any]) -> list[Completion]:
        self.may_go_on.wait(10)
        self.threads.add(threading.get_ident())
        self.batches.append(len(batch))
        if len(batch) > self.fits:
            raise self.trouble
        if 0 in batch:
            raise RuntimeError("shapes do not match")
        return [Completion(f"Shade {shade}." if shade != 255 else "", 5, 3, True) for shade in batch]


def _with(engine: FakeEngine, batch_size: int) -> LocalCaptioner:
    captioner = LocalCaptioner(
        model_id="demo", device="cpu", batch_size=batch_size, open_engine=lambda *_: engine
    )
    captioner.load()
    engine.batches.clear()
    return captioner


def _ask_all(captioner: LocalCaptioner, engine: FakeEngine, shades: Sequence[int]) -> list[str]:
    """Ask about all at once, while the model is busy, so that they gather; errors as their words."""

    def ask(shade: int) -> str:
        try:
            return captioner.ask(captioner.prepare(_blank(shade)), REQUEST).text
        except (Rejected, Surroundings, RuntimeError) as error:
            return str(error)

    engine.may_go_on.clear()
    threading.Timer(0.5, engine.may_go_on.set).start()
    with ThreadPoolExecutor(len(shades)) as callers:
        return list(callers.map(ask, shades))


@pytest.fixture(scope="module")
def golden() -> Iterator[LocalCaptioner]:
    captioner = LocalCaptioner(model_id=str(GOLDEN / "checkpoint"), device="cpu", batch_size=4)
    captioner.load()
    yield captioner
    captioner.close()


def test_a_batch_of_different_pictures_says_what_each_says_alone(golden: LocalCaptioner) -> None:
    """Pictures of several sizes and crop counts asked together get the very captions they get alone."""
    names = ("square_336", "pano_1344x336", "tall_480x640", "small_50x37")
    prepared = [golden.prepare(_picture(name)) for name in names]
    alone = [golden.ask(one, REQUEST).text for one in prepared]
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda one: golden.ask(one, REQUEST).text, prepared))
    assert together == alone and len(set(alone)) == 4


def test_a_prepared_picture_is_asked_again_and_looked_at_once(
    golden: LocalCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other questions, also after the first answer, get what they get from a picture made ready for them
    alone; the tower looks at it once."""
    requests = [
        CaptionRequest(words, 6) for words in ("What is this?", "Name three things.", "What is this?")
    ]
    alone = [golden.ask(golden.prepare(_picture("tall_480x640")), request).text for request in requests]
    crops: list[int] = []
    look = Phi3VImageEmbedding.vectors

    def counted(tower: Phi3VImageEmbedding, views: torch.Tensor, *layout: Any) -> torch.Tensor:
        crops.append(len(views))
        return look(tower, views, *layout)

    monkeypatch.setattr(Phi3VImageEmbedding, "vectors", counted)
    prepared = golden.prepare(_picture("tall_480x640"))
    assert [golden.ask(prepared, request).text for request in requests] == alone
    assert crops == [5]


def test_questions_asked_together_get_what_they_get_alone(golden: LocalCaptioner) -> None:
    """Five questions of several pictures at once: each answer is that of its own question, in their order."""
    requests = [CaptionRequest(f"What is number {n}?", 3 + n) for n in range(5)]
    prepared = [golden.prepare(_picture(name)) for name in ("square_336", "pano_1344x336", "tall_480x640")]
    alone = [[golden.ask(one, request) for request in requests] for one in prepared]
    afresh = [golden.prepare(_picture(name)) for name in ("square_336", "pano_1344x336", "tall_480x640")]
    with ThreadPoolExecutor(3) as callers:
        assert list(callers.map(lambda one: golden.ask_all(one, requests), afresh)) == alone
    assert golden.ask_all(afresh[0], []) == []


def test_a_second_try_may_say_something_else(golden: LocalCaptioner) -> None:
    """A temperature with a seed gives other words, the same ones each time; without it nothing changes."""
    prepared = golden.prepare(_picture("square_336"))
    greedy = golden.ask(prepared, REQUEST)
    hot = [replace(REQUEST, temperature=1.2, seed=seed) for seed in (1, 2, 1)]
    first, second, again = golden.ask_all(prepared, hot)
    assert first == again != second
    assert greedy == golden.ask(prepared, REQUEST) and greedy.text not in {first.text, second.text}  # type: ignore[union-attr]


def test_a_caption_says_who_made_it_and_how(golden: LocalCaptioner) -> None:
    """Model, device, precision, token counts and why it ended stand in every caption."""
    caption = golden.ask(golden.prepare(_picture("square_336")), REQUEST)
    assert (caption.model.device, caption.model.dtype, caption.model.backend) == (
        "cpu", "float32", "transformers",
    )  # fmt: skip
    assert caption.new_tokens == 8 and caption.finish_reason == "length"
    assert caption.prompt_tokens is not None and caption.prompt_tokens > 757
    assert [notice.code for notice in caption.notices] == ["cut_off"]


def test_one_thread_owns_the_model_and_callers_share_batches() -> None:
    """Sixteen callers at once are served by one thread in a few batches, each with his own answer."""
    engine = FakeEngine()
    captioner = _with(engine, batch_size=8)
    shades = list(range(10, 26))
    assert _ask_all(captioner, engine, shades) == [f"Shade {shade}." for shade in shades]
    assert len(engine.threads) == 1 and max(engine.batches) == 8 and len(engine.batches) <= 4


def test_out_of_memory_shrinks_the_batches_and_fails_nobody() -> None:
    """When eight do not fit, all are still answered, in batches that fit, and later ones start small."""
    engine = FakeEngine(fits=3)
    captioner = _with(engine, batch_size=8)
    shades = list(range(10, 26))
    assert _ask_all(captioner, engine, shades) == [f"Shade {shade}." for shade in shades]
    assert captioner.capacity == 4  # two batches of two
    engine.batches.clear()
    _ask_all(captioner, engine, shades)
    assert max(engine.batches) <= 2


def test_memory_that_runs_out_in_the_middle_changes_no_caption(
    golden: LocalCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows whose step finds no memory are asked anew, fewer at once, and say what they say alone."""
    names = ("square_336", "pano_1344x336") * 3
    prepared = [golden.prepare(_picture(name)) for name in names]
    alone = [golden.ask(one, REQUEST).text for one in prepared]
    step, at_once = Decoder._decode, []

    def too_large(decoder: Decoder, rows: int, seen: int) -> None:
        at_once.append(rows)
        if rows > 1:
            raise torch.OutOfMemoryError("no room")
        step(decoder, rows, seen)

    monkeypatch.setattr(Decoder, "_decode", too_large)
    # The loop holds its step since it made its cache; another number of slots makes it a new one.
    monkeypatch.setattr(golden, "_batch_size", 2)
    with ThreadPoolExecutor(6) as callers:
        said = list(callers.map(lambda one: golden.ask(one, REQUEST).text, prepared))
    assert said == alone
    assert 2 in at_once and golden._batch_size == 1


@pytest.mark.parametrize(
    "trouble",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=["cpu", "cublas", "outside-the-allocator"],
)
def test_memory_that_runs_out_elsewhere_fails_nobody_either(trouble: RuntimeError) -> None:
    """However it is told that memory is short, batches shrink; no picture and no card is blamed for it."""
    engine = FakeEngine(fits=3, trouble=trouble)
    captioner = _with(engine, batch_size=8)
    shades = list(range(10, 20))
    assert _ask_all(captioner, engine, shades) == [f"Shade {shade}." for shade in shades]
    engine.fits = 0
    with pytest.raises(Surroundings, match="out of memory"):
        captioner.ask(captioner.prepare(_blank()), REQUEST)


def test_out_of_memory_for_a_single_picture_is_the_surroundings_trouble() -> None:
    """If not even one picture fits, the work pauses; the picture is not blamed."""
    captioner = _with(engine := FakeEngine(), batch_size=2)
    engine.fits = 0
    with pytest.raises(Surroundings, match="out of memory"):
        captioner.ask(captioner.prepare(_blank()), REQUEST)


def test_a_picture_that_upsets_the_model_fails_alone() -> None:
    """One bad picture in a batch costs its neighbours nothing."""
    engine = FakeEngine()
    captioner = _with(engine, batch_size=8)
    answers = _ask_all(captioner, engine, [10, 11, 0, 12, 13])
    assert answers == ["Shade 10.", "Shade 11.", "shapes do not match", "Shade 12.", "Shade 13."]


def test_a_lost_card_ends_the_process() -> None:
    """CUDA answers nobody after such an error: it is told once, as what a restart may mend."""
    engine = FakeEngine()
    captioner = _with(engine, batch_size=8)

    def fall_off(batch: Sequence[Any]) -> list[Completion]:
        raise torch.AcceleratorError("CUDA error: GPU has fallen off the bus")

    engine.generate = fall_off  # type: ignore[method-assign]
    with pytest.raises(CannotStart, match="fallen off the bus") as lost:
        captioner.ask(captioner.prepare(_blank()), REQUEST)
    assert lost.value.exit_code == ExitCode.TRY_AGAIN


def test_an_empty_answer_is_rejected() -> None:
    """A model with nothing to say gives no empty caption."""
    captioner = _with(FakeEngine(), batch_size=1)
    prepared = captioner.prepare(_blank(255))
    with pytest.raises(Rejected) as rejected:
        INTERVIEW(partial(captioner.ask_all, prepared), PictureFacts("PNG", 32, 32))
    assert rejected.value.kind == "empty_caption"


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        ("./no-such-folder", "there is no folder"),
        ("{empty}", "holds no config.json"),
        ("{broken}", "cannot be loaded"),
        ("{pickled}", "as pytorch_model.bin, and loading a pickle may run code"),
        ("not a name at all", "there is no model"),
    ],
)
def test_what_is_no_model_is_said_at_the_start(model_id: str, words: str, tmp_path: Path) -> None:
    """A wrong model.id ends the start with its name, the reason, advice and the code for wrong settings."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "phi3_v"}')
    (tmp_path / "pickled" / "config.json").write_text('{"model_type": "phi3_v"}')
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nabort\n.")
    folders = {name: tmp_path / name for name in ("empty", "broken", "pickled")}
    captioner = LocalCaptioner(model_id=model_id.format(**folders), device="cpu")
    with pytest.raises(CannotStart, match=words) as refusal:
        captioner.load()
    assert refusal.value.exit_code == ExitCode.WRONG_SETTINGS and refusal.value.advice


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Asking for CUDA where there is none says so, and what to look at."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(CannotStart, match="no CUDA device") as refusal:
        LocalCaptioner(model_id=str(GOLDEN / "checkpoint"), device="cuda").load()
    assert refusal.value.exit_code == ExitCode.TRY_AGAIN


@pytest.mark.parametrize(
    ("flags", "stored", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16", torch.bfloat16),
        ({"amx_bf16": True}, "bfloat16", torch.bfloat16),
        ({"avx512_bf16": True}, "float16", torch.float32),
        ({"avx512_bf16": True}, None, torch.float32),
        ({"avx512_bf16": False, "avx512_vnni": True}, "bfloat16", torch.float32),
        ({}, "bfloat16", torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_is_fast_and_loses_nothing(
    flags: dict[str, bool], stored: str | None, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` on a CPU is the checkpoint's own bfloat16 where the CPU multiplies it, and float32 elsewhere."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert placement("cpu", "auto", "none", stored).dtype == expected
    assert placement("cpu", "float32", "none", stored).dtype == torch.float32


def test_eight_bits_on_a_cpu_caption_the_demo() -> None:
    """`quantization: int8` on a CPU says of a plain scene what whole weights say, and names itself."""
    rng = random.Random(3)
    scene = scenes.random_scene(rng)
    image = scenes.draw(scene, *scenes.random_size(rng, scene, longest=400))
    captioner = LocalCaptioner(model_id="demo", device="cpu", quantization="int8")
    captioner.load()
    picture = Picture(image, PictureFacts("PNG", *image.size))
    said = captioner.ask(captioner.prepare(picture), CaptionRequest(REQUEST.prompt, 40))
    assert said.text == scene.caption and said.model.quantization == "int8"
    captioner.close()


def test_each_picture_is_prepared_on_one_core_and_the_model_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prepares a picture takes no team of threads beside others'; the model's thread has its own."""
    monkeypatch.setattr("captiond.captioners.threads.ALL_CORES", 3)
    before = torch.get_num_threads()
    used: list[tuple[str, str, int]] = []

    class Counting(FakeEngine):
        def prepare(self, image: Image.Image) -> Any:
            used.append(("prepare", threading.current_thread().name, torch.get_num_threads()))
            return super().prepare(image)

        def generate(self, batch: Sequence[Any]) -> list[Completion]:
            used.append(("model", threading.current_thread().name, torch.get_num_threads()))
            return super().generate(batch)

    def ask(_: int) -> None:
        captioner.ask(captioner.prepare(_blank()), REQUEST)

    captioner = _with(Counting(), batch_size=2)
    try:
        with ThreadPoolExecutor(2, thread_name_prefix="caller") as callers:
            list(callers.map(ask, range(6)))
    finally:
        captioner.close()
        torch.set_num_threads(before)
    by_callers = {count for what, name, count in used if what == "prepare" and name.startswith("caller")}
    assert by_callers == {1}
    assert {count for what, _, count in used if what == "model"} == {3}
