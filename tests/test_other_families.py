"""Vision-language checkpoints that transformers serves work by their model.id; see also `make engines`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captiond.captioners.local import LocalCaptioner
from captiond.errors import CannotStart, ExitCode
from captiond.records import CaptionRequest, Picture, PictureFacts
from engines.families import IN_WHOLE_BATCHES
from tiny_captioners import CAPTIONERS
from tiny_families import FAMILIES, save

# A decoder with a start of its own, an encoder-decoder, and one without any processor.
QUICK = {**FAMILIES, **{name: CAPTIONERS[name] for name in ("blip", "florence2", "vit-gpt2")}}

REQUEST = CaptionRequest("Describe what is shown in this image.", 8)


def _pictures() -> list[Picture]:
    disc = Image.radial_gradient("L").convert("RGB")
    sizes = [(64, 64), (120, 60), (50, 200)]
    return [Picture(disc.resize(size), PictureFacts("PNG", *size)) for size in sizes]


@pytest.mark.parametrize("family", QUICK)
def test_other_families_caption_alike_alone_and_in_a_batch(family: str, tmp_path: Path) -> None:
    """Those with a chat template and those made for captions, the same in a batch as one by one."""
    captioner = LocalCaptioner(model_id=str(save(family, tmp_path, QUICK)), device="cpu", batch_size=3)
    captioner.load()
    prepared = [captioner.prepare(picture) for picture in _pictures()]
    alone = [captioner.ask(one, REQUEST) for one in prepared]
    with ThreadPoolExecutor(len(prepared)) as callers:
        together = list(callers.map(lambda one: captioner.ask(one, REQUEST), prepared))
    hot = [replace(REQUEST, temperature=1.5, seed=seed) for seed in (1, 2, 1)]
    one, other, again = (answer.text for answer in captioner.ask_all(prepared[0], hot))  # type: ignore[union-attr]
    assert one == again != other
    captioner.close()
    assert [caption.text for caption in together] == [caption.text for caption in alone]
    assert all(caption.text and caption.prompt_tokens and caption.new_tokens for caption in alone)


def test_a_checkpoint_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    """A checkpoint that does not say how it is asked is refused at the start, with the reason."""
    folder = save("llava", tmp_path)
    (folder / "chat_template.jinja").unlink()
    captioner = LocalCaptioner(model_id=str(folder), device="cpu")
    with pytest.raises(CannotStart, match="chat template") as refusal:
        captioner.load()
    assert refusal.value.exit_code == ExitCode.WRONG_SETTINGS


def test_the_page_on_models_names_those_in_whole_batches() -> None:
    """`make engines` tries that these are served so, and all others row by row."""
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("| whole batches |")]
    assert line.split("|")[2].strip().split(", ") == sorted(IN_WHOLE_BATCHES.values())
