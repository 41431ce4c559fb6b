"""Loads a checkpoint's processor, and says how to ask families whose checkpoints do not say it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from captiond.captioners.unloadable import NotAskable

AS_ASKED = "as asked"
# Captioning families without a chat template: the prompt that each was trained on, None if the picture is
# all.  They describe the picture whatever the question is; only those with AS_ASKED get the question.
PROMPTS: dict[str, str | None] = {
    "blip": None,
    "blip-2": "",
    "florence2": "<MORE_DETAILED_CAPTION>",
    "git": None,
    "got_ocr2": None,
    "instructblip": AS_ASKED,
    "kosmos-2": "Describe this image in detail:",
    "paligemma": "caption en",
    "vision-encoder-decoder": None,
}


def load(folder: Path, config: PreTrainedConfig) -> Any:
    """The checkpoint's processor.

    Raises: NotAskable, if neither the checkpoint nor PROMPTS says how to ask the model.
    """
    known: Any = PROCESSOR_MAPPING.get(type(config), None)
    is_by_heart = config.model_type in PROMPTS
    if known is not None and "video_processor" in known.get_attributes() and not find_spec("torchvision"):
        processor = _for_pictures(known).from_pretrained(folder, trust_remote_code=False)
    else:
        load: Any = AutoProcessor.from_pretrained
        processor = load(folder, trust_remote_code=False)
    if is_by_heart and not isinstance(processor, ProcessorMixin):
        return Pair(folder)
    if not getattr(processor, "chat_template", None) and not is_by_heart:
        raise NotAskable("its processor has no chat template, so nobody knows how to ask it")
    return processor


class Pair:
    """For families without a processor: an image processor, and a tokenizer for the words that come back."""

    chat_template = None

    def __init__(self, folder: Path) -> None:
        load: Any = AutoImageProcessor.from_pretrained
        self._pictures = load(folder, trust_remote_code=False)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )

    def __call__(self, images: Sequence[Image.Image], return_tensors: str) -> BatchFeature:
        seen: BatchFeature = self._pictures(images, return_tensors=return_tensors)
        return seen


class NoVideos:
    """Stands in for a video processor, which needs torchvision: captiond never shows it a video."""

    num_frames = fps = None  # SmolVLM's processor gives these to its template even without a video


def _for_pictures(known: Any) -> Any:
    """The processor's class, without the part for videos.

    Families that also understand videos (Qwen-VL, SmolVLM, Gemma 4) load a processor for those, which needs
    torchvision, whose builds rarely match torch's.  SmolVLM's also wants num2words, to count frames in words.
    """
    module = sys.modules[known.__module__]
    if getattr(module, "num2words", known) is None:
        vars(module)["num2words"] = str
    names = known.get_attributes()

    def image_parts(cls: type) -> list[str]:
        return [name for name in names if name != "video_processor"]

    loaded: Any = type(known.__name__, (known,), {"get_attributes": classmethod(image_parts)})

    class ForPictures(known):  # type: ignore[misc]
        @classmethod
        def _get_arguments_from_pretrained(cls, *arguments: Any, **more: Any) -> list[Any]:
            parts: list[Any] = loaded._get_arguments_from_pretrained(*arguments, **more)
            parts.insert(names.index("video_processor"), NoVideos())
            return parts

        def __repr__(self) -> str:  # the base class's dumps all that is in it as JSON
            return str(known.__name__)

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, NoVideos):
                return NoVideos
            return super().check_argument_for_proper_class(argument_name, argument)

    return ForPictures
