"""What this room knows of the tokenizer: whether it is the right one, and which ids end an answer.

The published tokenizer puts a "▁" before every newline that follows a special token.  transformers 5 has
loaders (`LlamaTokenizer`) that silently drop it from the same files, and the captions get worse with no error
anywhere; so one known prompt is checked at start-up.  It loads nothing and never changes a tokenizer.
"""

from __future__ import annotations

from typing import Any

END, END_OF_TEXT, USER, ASSISTANT = "<|end|>", "<|endoftext|>", "<|user|>", "<|assistant|>"
IMAGE, END_OF_SENTENCE = "<|image|>", "</s>"

# The id of <|end|> in the published vocabulary; a tokenizer that has it there must match all of the below.
REAL_END = 32007

# text -> ids, printed by a real Phi-3.5-vision run and reproduced with transformers 4.43.4.
KNOWN_PROMPT: dict[str, list[int]] = {
    "<|user|>\n": [1, 32010, 29871, 13],
    "\nSummarize the deck of slides.<|end|>\n<|assistant|>\n": [
        *(1, 29871, 13, 11139, 3034, 675, 278, 19810, 310, 2243, 2247, 29889, 32007, 29871, 13, 32001)
    ],
}
KNOWN_SPECIALS = {END_OF_TEXT: 32000, ASSISTANT: 32001, END: 32007, USER: 32010, IMAGE: 32044}


class TokenizerMismatch(ValueError):
    """This tokenizer would give the network other tokens than the prompt means."""


def check_tokenizer(tokenizer: Any) -> None:
    """Check a known prompt: the published vocabulary must give its published ids, others the same structure.

    Raises: TokenizerMismatch, if the tokenizer treats a prompt otherwise than the network was trained on.
    """
    for word in (END, END_OF_TEXT, USER, ASSISTANT):
        if token_id(tokenizer, word) is None:
            raise TokenizerMismatch(f"the tokenizer has no {word} token: not a Phi-3 vision tokenizer")
    if token_id(tokenizer, END) == REAL_END:
        _check_published(tokenizer)
    else:
        _check_structure(tokenizer)


def token_id(tokenizer: Any, word: str) -> int | None:
    """The id of a whole token, None if the vocabulary lacks it."""
    found: int | None = tokenizer.convert_tokens_to_ids(word)
    return None if found == tokenizer.unk_token_id else found


def stop_token_ids(tokenizer: Any) -> list[int]:
    """The ids that end an answer, sorted.

    The published configs name only `</s>`, which the network never says, so answers would run on to the
    token limit.  It says `<|end|>` or `<|endoftext|>`; `</s>` and `<|assistant|>` do no harm in the list.
    """
    ids = {token_id(tokenizer, word) for word in (END, END_OF_TEXT, END_OF_SENTENCE, ASSISTANT)}
    return sorted(stop for stop in ids if stop is not None)


def _check_published(tokenizer: Any) -> None:
    for word, expected in KNOWN_SPECIALS.items():
        if token_id(tokenizer, word) != expected:
            raise TokenizerMismatch(f"{word} is {token_id(tokenizer, word)}, published as {expected}")
    for text, ids in KNOWN_PROMPT.items():
        _expect(tokenizer, text, ids)


def _check_structure(tokenizer: Any) -> None:
    begin, user, assistant = tokenizer.bos_token_id, token_id(tokenizer, USER), token_id(tokenizer, ASSISTANT)
    space = token_id(tokenizer, "▁")
    newline = tokenizer(USER + "\n").input_ids[-1]
    if tokenizer.decode([newline]) != "\n":
        raise TokenizerMismatch(f"the newline after {USER} is lost")
    _expect(tokenizer, USER + "\n", [begin, user, space, newline])
    # <|assistant|> swallows the whitespace on its right, as in the published tokenizer.
    _expect(tokenizer, ASSISTANT + "\n", [begin, assistant])


def _expect(tokenizer: Any, text: str, expected: list[int | None] | list[int]) -> None:
    found = tokenizer(text).input_ids
    if found != expected:
        raise TokenizerMismatch(
            f"{text!r} becomes {found}, expected {expected}: load the tokenizer with "
            "PreTrainedTokenizerFast.from_pretrained, and check that its files are the published ones"
        )
