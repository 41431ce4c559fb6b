"""From a checkpoint folder to a network and a processor that fit together.

This room sets the right stop ids, whatever the folder's generation_config.json says, and registers the model
type with the auto classes.  No code from a checkpoint is ever run.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
)

# transformers itself (up to 5.17 at least) does not export this class if torchvision is missing.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.image_processing import Phi3VImageProcessor
from captiond.phi3v.modeling import Phi3VForCausalLM
from captiond.phi3v.processing import Phi3VProcessor
from captiond.phi3v.tokens import stop_token_ids


def register() -> None:
    """Make the auto classes load `phi3_v` folders with these classes; calling it again changes nothing.

    Without it they ask on standard input whether to run the checkpoint's own code, and a daemon would hang.
    """
    AutoConfig.register("phi3_v", Phi3VConfig, exist_ok=True)
    AutoModelForImageTextToText.register(Phi3VConfig, Phi3VForCausalLM, exist_ok=True)
    AutoModelForCausalLM.register(Phi3VConfig, Phi3VForCausalLM, exist_ok=True)
    AutoImageProcessor.register(Phi3VConfig, slow_image_processor_class=Phi3VImageProcessor, exist_ok=True)
    AutoProcessor.register(Phi3VConfig, Phi3VProcessor, exist_ok=True)  # type: ignore[no-untyped-call]


def load(
    folder: str | PathLike[str],
    *,
    dtype: torch.dtype | str = "auto",
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    quantization_config: BitsAndBytesConfig | None = None,
    num_crops: int | None = None,
    local_files_only: bool = True,
    revision: str = "main",
    use_safetensors: bool = True,
) -> tuple[Phi3VForCausalLM, Phi3VProcessor]:
    """The network, in eval mode and with its stop ids set, and the processor that feeds it.

    `dtype="auto"` is the checkpoint's own; `num_crops` overrides the folder's budget.  Weights in other files
    than safetensors are refused unless `use_safetensors` is false: a pickle may run code.

    Raises: OSError, if files are missing; TokenizerMismatch, if the tokenizer is a wrong one; ValueError, if
    this network does not implement the configuration, weights are missing (the library would make them up and
    only warn), or crops are of another size than the tower's.
    """
    places: dict[str, Any] = {"local_files_only": local_files_only, "revision": revision}
    crops = {} if num_crops is None else {"num_crops": num_crops}
    processor = Phi3VProcessor.from_pretrained(folder, **crops, **places)
    loaded: Any = Phi3VForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map=device_map,
        attn_implementation=attn_implementation,
        quantization_config=quantization_config,
        output_loading_info=True,
        use_safetensors=use_safetensors,
        **places,
    )
    model: Phi3VForCausalLM = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ValueError(f"{folder} lacks {len(missing)} of the network's weights, first {missing[0]}")
    model.train(False)
    pictures, tower = processor.image_processor, model.config.vision_config
    if (pictures.crop_size, pictures.patch_size) != (tower.image_size, tower.patch_size):
        raise ValueError(
            f"the image processor makes {pictures.crop_size} pixel crops in patches of "
            f"{pictures.patch_size}, the tower takes {tower.image_size} in patches of {tower.patch_size}"
        )
    model.generation_config.eos_token_id = stop_token_ids(processor.tokenizer)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor
