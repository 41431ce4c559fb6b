"""What to do about a checkpoint that cannot be loaded, from what the libraries said.  Pure."""

from __future__ import annotations

import re

SERVER = "or give the model to a server that has it (model.backend: openai)"


class NotAskable(ValueError):
    """The checkpoint does not say how to ask the model, and its family is not in `processors.PROMPTS`."""


def advice(error: Exception) -> str:
    """One sentence or two for the operator."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, NotAskable):
        return (
            "Put its chat_template.jinja into the folder (a template's words are the model's own, so nobody "
            f"else can write it), {SERVER}."
        )
    for pattern, told in _ADVICE:
        if re.search(pattern, said, re.IGNORECASE):
            return told
    if isinstance(error, ImportError):
        return f"Install what it asks for into captiond's environment, {SERVER}."
    return (
        "Check that the folder is a whole checkpoint, of a kind that transformers serves by "
        f"AutoModelForImageTextToText; else choose another model, {SERVER}."
    )


_ADVICE = (
    (
        r"torchvision::|torchvision.*(undefined symbol|version)",
        "The torchvision that is installed was built for another torch: install both anew, in one "
        "command and from one index, or take torchvision away if no model of yours needs it.",
    ),
    (
        r"torchvision",
        f"Install captiond's extra `families`: pip install 'captiond[families]', {SERVER}.",
    ),
    (
        r"trust_remote_code|custom code|contains code",
        "It comes with code of its own, which captiond never runs: choose one that transformers has itself, "
        f"{SERVER}.",
    ),
    (
        r"does not recognize this architecture|model type .* not recogni[sz]ed",
        f"Is it newer than the installed transformers?  Update that (pip install -U transformers), {SERVER}.",
    ),
    (
        r"Unrecognized configuration class|Unrecognized model|for this kind of AutoModel",
        "Choose a model that is asked with a picture and answers in words; one for text alone, for "
        "embeddings or for classes is none.",
    ),
    (
        r"safetensor|deserializing header|incomplete metadata|no file named|mismatch|JSONDecodeError"
        r"|valid JSON|No such file|is corrupt|not a local folder|Can't load|EOF while parsing",
        "The checkpoint is not whole: fetch it again (`hf download` resumes), with its *.safetensors, "
        "tokenizer and processor files.",
    ),
    (
        r"bitsandbytes|quantiz",
        "Set model.quantization to none, or install captiond's extra `quant`: pip install 'captiond[quant]'.",
    ),
)
