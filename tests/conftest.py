"""What many tests begin with: a model server that answers at once, and the folders of a daemon asking it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from captiond.pictures.pool import Decoders
from daemon_process import Place, fork
from fake_chat_server import FakeChatServer

# A busy machine breaks no promise.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


fork()


@pytest.fixture(scope="session")
def decoders() -> Iterator[Decoders]:
    """Started for the first test that decodes, and kept for the others."""
    with Decoders() as running:
        yield running


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    with FakeChatServer() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: FakeChatServer) -> Place:
    """A daemon here starts in no time: it loads no model of its own."""
    return Place(tmp_path, {"model": server.settings})
