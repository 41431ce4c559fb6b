"""vLLM in a process of its own, for `cpu_engines`: it runs in vLLM's Python and speaks JSON lines.

It writes the configuration of a Phi-3.5-vision of the asked shape, whose weights vLLM makes up by itself
(`load_format="dummy"`).  vLLM has the network and leaves pictures and configuration to the code that lies in
the published repository; captiond's stands in for that, so that both have the same crops and the same tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGE_ID, VOCABULARY = 32044, 32064
PROMPT = "<|user|>\n<|image_1|>\nWhat?<|end|>\n<|assistant|>\n"
CONFIGURATION = """
from typing import Any
from transformers import Phi3Config
class Phi3VConfig(Phi3Config):
    model_type = "phi3_v"
    img_processor: Any = None
    embd_layer: Any = None
"""
PROCESSING = """
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from captiond.phi3v.image_processing import Phi3VImageProcessor, image_token_count
class Phi3VProcessor(ProcessorMixin):
    def __init__(self, image_processor=None, tokenizer=None, **_):
        self.image_processor, self.tokenizer = Phi3VImageProcessor(4), tokenizer
        self.img_tokens = [f"<|image_{number}|>" for number in range(1, 9)]
        self.chat_template = None
    @classmethod
    def from_pretrained(cls, folder, **_):
        return cls(None, PreTrainedTokenizerFast.from_pretrained(folder))
    def calc_num_image_tokens_from_image_size(self, *, width, height):
        return image_token_count(*self.image_processor.layout(width, height), 12)
    def __call__(self, images=None, text=None, **_):
        ids = self.tokenizer(text if isinstance(text, str) else text[0], return_tensors="pt")["input_ids"]
        if images is None:
            return BatchFeature({"input_ids": ids})
        seen = self.image_processor(images)
        seen.pop("num_img_tokens")
        return BatchFeature({"input_ids": ids, **seen})
"""


def write(folder: Path, shape: dict[str, Any], tower_layers: int) -> None:
    """Everything but weights."""
    factors = [1.0] * (shape["hidden_size"] // shape["num_attention_heads"] // 2)
    rope = {"type": "longrope", "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": factors,
            "long_factor": factors, "original_max_position_embeddings": 4096}  # fmt: skip
    config = {
        **shape,
        "architectures": ["Phi3VForCausalLM"],
        "model_type": "phi3_v",
        "auto_map": {"AutoConfig": "configuration_phi3_v.Phi3VConfig"},
        "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": rope,
        "rope_parameters": rope,
        "rope_theta": 10_000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "embd_layer": {
            "embedding_cls": "image",
            "hd_transform_order": "sub_glb",
            "projection_cls": "mlp",
            "use_hd_transform": True,
            "with_learnable_separator": True,
        },
        "img_processor": {
            "image_dim_out": 1024,
            "layer_idx": tower_layers - 1,
            "model_name": "openai/clip-vit-large-patch14-336",
            "name": "clip_vision_model",
            "num_img_tokens": 144,
        },
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_phi3_v.py").write_text(CONFIGURATION)
    (folder / "processing_phi3_v.py").write_text(PROCESSING)
    (folder / "processor_config.json").write_text(
        json.dumps(
            {
                "processor_class": "Phi3VProcessor",
                "auto_map": {"AutoProcessor": "processing_phi3_v.Phi3VProcessor"},
            }
        )
    )
    _write_tokenizer(folder)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces += [f"word{number}" for number in range(len(pieces), VOCABULARY)]
    pieces[IMAGE_ID] = "<|image|>"
    special = ["<|user|>", "<|assistant|>", "<|end|>", *(f"<|image_{number}|>" for number in range(1, 9))]
    pieces[IMAGE_ID + 1 : IMAGE_ID + 1 + len(special)] = special
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|image|>", *special],
    ).save_pretrained(folder)


def noise(number: int, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def serve(folder: str, dtype: str) -> None:
    """For each line, pictures and tokens asked for; answers the seconds, and the tokens of the prompt."""
    import vllm

    engine = vllm.LLM(
        folder,
        trust_remote_code=True,  # the two files that `write` wrote
        load_format="dummy",
        dtype=dtype,
        max_model_len=2048,
        max_num_seqs=8,
        enforce_eager=True,  # compiling takes minutes and spares little of such large products
        limit_mm_per_prompt={"image": 1},
        seed=0,
    )
    print(json.dumps({"ready": vllm.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        sampling = vllm.SamplingParams(temperature=0.0, max_tokens=asked["new_tokens"], ignore_eos=True)
        prompts: list[Any] = [
            {"prompt": PROMPT, "multi_modal_data": {"image": noise(number, *asked["size"])}}
            for number in asked["pictures"]
        ]
        began = time.perf_counter()
        said = engine.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        prompt_tokens = len(said[0].prompt_token_ids or ())
        answer = {
            "seconds": seconds,
            "prompt_tokens": prompt_tokens,
            "new": len(said[0].outputs[0].token_ids),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
