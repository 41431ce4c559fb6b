"""Recorded steps: what is recorded is replayed, and what cannot be recorded is taken as it is.

CUDA is stood in for, since the order of what is asked of it can be seen without a card; that real recordings
say the same tokens is checked on one (test_phi3v_gpu.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from captiond.phi3v.graphs import StepGraphs


class Card:
    """What recording needs of torch.cuda: one current stream, and graphs that note what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stream_name = "main"
        self.refusal: RuntimeError | None = None
        self.is_recording = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("current_stream", "set_stream", "Stream", "stream", "device", "graph", "CUDAGraph"):
            patch.setattr(torch.cuda, name, getattr(self, name))

    def current_stream(self) -> AStream:
        return AStream(self, self.stream_name)

    def set_stream(self, stream: AStream) -> None:
        self.stream_name = stream.name

    def Stream(self) -> AStream:  # noqa: N802 - torch's name
        self.asked.append("new stream")
        return AStream(self, "side")

    @contextmanager
    def stream(self, stream: AStream) -> Iterator[None]:
        former, self.stream_name = self.stream_name, stream.name
        try:
            yield
        finally:
            self.stream_name = former

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.asked.append(str(device))
        yield

    def CUDAGraph(self) -> Graph:  # noqa: N802 - torch's name
        return Graph(self)

    @contextmanager
    def graph(self, graph: Graph, *, pool: Any, stream: AStream, capture_error_mode: str) -> Iterator[None]:
        self.stream_name, self.is_recording = stream.name, True
        yield
        self.is_recording = False
        if self.refusal:  # as torch does it, which then leaves its own stream the current one
            raise self.refusal
        self.stream_name = "main"
        self.asked.append(f"recorded with pool {pool}")


class AStream:
    def __init__(self, card: Card, name: str) -> None:
        self.card, self.name = card, name

    def wait_stream(self, other: AStream) -> None:
        self.card.asked.append(f"{self.name} waits for {other.name}")


class Graph:
    def __init__(self, card: Card) -> None:
        self.card = card

    def pool(self) -> str:
        return "shared"

    def replay(self) -> None:
        self.card.asked.append("replayed")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    made.install(monkeypatch)
    return made


def _steps(card: Card) -> tuple[StepGraphs, list[tuple[int, int, str]]]:
    taken: list[tuple[int, int, str]] = []

    def step(rows: int, length: int) -> None:
        if not card.is_recording:
            taken.append((rows, length, card.stream_name))

    return StepGraphs(step, torch.device("cuda:1")), taken


def test_each_shape_is_recorded_once_and_then_replayed(card: Card) -> None:
    """The first step of a shape is taken on the side stream and recorded, later ones only replayed."""
    steps, taken = _steps(card)
    for rows in (4, 4, 8, 4):
        steps(rows, 256)
    assert taken == [(4, 256, "side"), (8, 256, "side")]
    assert [said for said in card.asked if "waits" not in said and said != "cuda:1"] == [
        "new stream", "recorded with pool None", "replayed", "recorded with pool shared", "replayed",
    ]  # fmt: skip
    assert card.asked.count("side waits for main") == card.asked.count("main waits for side") == 2


def test_streams_are_those_of_the_models_card(card: Card) -> None:
    """On a second card each step makes that card the current one, else a recording would be empty."""
    steps, _ = _steps(card)
    steps(1, 256)
    steps(1, 256)
    assert card.asked.count("cuda:1") == 2


def test_what_cannot_be_recorded_is_taken_as_it_is(card: Card, caplog: pytest.LogCaptureFixture) -> None:
    """A recording that fails costs no step and no answer: it is told once, and decoding goes on without."""
    steps, taken = _steps(card)
    card.refusal = torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing")
    for rows in (4, 4, 8):
        steps(rows, 256)
    assert taken == [(4, 256, "side"), (4, 256, "main"), (8, 256, "main")]
    assert len(caplog.records) == 1 and "without CUDA graphs" in caplog.text


def test_a_step_that_fails_is_waited_for(card: Card) -> None:
    """Memory that runs out in a step is told to the caller, once nothing is written to any more."""

    def step(rows: int, length: int) -> None:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        StepGraphs(step, torch.device("cuda"))(4, 256)
    assert card.asked[-1] == "main waits for side" and card.stream_name == "main"
