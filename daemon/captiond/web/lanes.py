"""Threads for each kind of question, so that no kind is held up by another that takes long.

The server's event loop only moves bytes.  Forty slow captions wait on threads of their own, and a question
about the daemon's health meanwhile finds another thread free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Lane:
    """Runs so many questions at once; a further one waits for the first that is done."""

    def __init__(self, threads: int) -> None:
        self._limiter = CapacityLimiter(threads)

    async def __call__(
        self, act: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
    ) -> Answer:
        return await to_thread.run_sync(lambda: act(*args, **kwargs), limiter=self._limiter)
