"""The demo model's tokenizer: the real one's structure with a vocabulary of under a thousand.

Every word of the texts and of the built-in questions is one token; any other text falls back to characters,
and those to bytes.
"""

import json
import re
import string
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from captiond.demo.scenes import BACKGROUNDS, COLOURS, KINDS
from captiond.settings.schema import Caption, Fields

PROMPT = Caption().prompt
PROMPTS = {
    "caption": PROMPT,
    "alt_text": Fields().alt_text_prompt,
    "title": Fields().title_prompt,
    "keywords": Fields().keywords_prompt,
    "visible_text": Fields().visible_text_prompt,
}
SENTENCE_WORDS = "A An From a an left right top bottom to the of on and above background"
OTHER_WORDS = (
    "Drawing drawing in row column caption alt text title keyword keywords image picture Answer English"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
    "{{- '<|assistant|>\\n' -}}{% endif %}"
)
# As in the real tokenizer: these eat the white space behind them ...
STRIPS_RIGHT = ["</s>", "<|assistant|>", "<|image|>"]
# ... and these do not.
SPECIALS = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>"]


def words() -> list[str]:
    asked = [word for prompt in PROMPTS.values() for word in re.findall(r"\w+", prompt)]
    titles = [colour.capitalize() for colour in COLOURS]
    known = [*SENTENCE_WORDS.split(), *BACKGROUNDS, *COLOURS, *KINDS, *asked, *titles, *OTHER_WORDS.split()]
    return list(dict.fromkeys(known))


def build() -> dict[str, object]:
    """tokenizer.json: byte-pair merges that grow each known word from its left end."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [character for character in string.printable if character.isprintable() and character != " "]
    merges: dict[tuple[str, str], None] = {}
    for word in words():
        grown = "▁"
        for character in word:
            merges[grown, character] = None
            grown += character
            tokens.append(grown)
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    first_special = len(vocabulary)
    added = [(0, "<unk>"), (1, "<s>"), (2, "</s>")]
    added += [(first_special + index, name) for index, name in enumerate(SPECIALS)]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    prepend = {"type": "Prepend", "prepend": "▁"}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": name in STRIPS_RIGHT,
                "normalized": False,
                "special": name != "</s>",
            }
            for index, name in added
        ],
        "normalizer": {"type": "Sequence", "normalizers": [prepend, spaces]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        },
    }


def write(folder: Path) -> PreTrainedTokenizerFast:
    """Put the tokenizer's files into the folder, and load it from there."""
    named = {
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<unk>",
    }
    config = {
        **named,
        "add_bos_token": True,
        "add_eos_token": False,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "padding_side": "right",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    contents = {"tokenizer.json": build(), "tokenizer_config.json": config, "special_tokens_map.json": named}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded
