"""The tiny golden checkpoint, loaded once per attention implementation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from phi3v_goldens import CHECKPOINT
from transformers.utils import logging

from captiond.phi3v import Phi3VForCausalLM, Phi3VProcessor, load


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars between the dots."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    yield
    logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def processor() -> Phi3VProcessor:
    return Phi3VProcessor.from_pretrained(CHECKPOINT)


def _loaded(attention: str) -> Phi3VForCausalLM:
    model, _ = load(CHECKPOINT, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    return model


@pytest.fixture(scope="session")
def eager() -> Phi3VForCausalLM:
    return _loaded("eager")


@pytest.fixture(scope="session")
def sdpa() -> Phi3VForCausalLM:
    return _loaded("sdpa")


@pytest.fixture(params=["eager", "sdpa"])
def model(request: pytest.FixtureRequest) -> Phi3VForCausalLM:
    """Each attention implementation in turn."""
    loaded = request.getfixturevalue(request.param)
    assert isinstance(loaded, Phi3VForCausalLM)
    assert loaded.dtype == torch.float32
    return loaded
