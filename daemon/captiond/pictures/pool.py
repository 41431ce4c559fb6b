"""The decoders: which one gets a picture, how long the daemon waits for it, and how much memory it gets.

Every picture is decoded in another process, which does one at a time (`worker`).  The fate of that process
concerns only that picture: the picture is rejected if it took too long or too much memory, or brought its
decoder down, and the next picture gets another decoder.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import structlog

from captiond.encoded import Encoded, JpegWish
from captiond.errors import Rejected, TryLater
from captiond.pictures import answers, shared, wire
from captiond.pictures.header import (
    REDUCED_MARGIN,
    Header,
    NeededSide,
    at_full_size,
    bytes_for,
    refuse_too_many_pixels,
    scale_of,
)
from captiond.pictures.nursery import Nursery
from captiond.records import Picture
from captiond.scaling import ScalingOf
from captiond.support.budget import ALONE, Budget

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

HEADER_BYTES = 64 << 20  # of memory, to read a header with
SLOW_SECONDS = 2.0  # a picture that takes longer is slow
KILLED_RETRY_SECONDS = 60.0
PICTURES_EACH = 1000  # then a decoder is replaced, with whatever memory its libraries have leaked


class DecoderFault(RuntimeError):
    """A bug of ours in a decoder's process."""


class _NotEnough(Exception):
    """The picture's share of the memory was too small, or may have been; it can still get all of it."""


def _go_on() -> None:
    """The default of `on_slow`: no caller waits for the slow picture's turn."""


@dataclass(frozen=True, slots=True)
class How:
    """How to decode a picture, whether to pixels or to a JPEG."""

    max_pixels: int = 200_000_000
    called_raw: bool = False  # the name says that it is a camera's RAW
    alone: bool = False  # while no other is decoded, with all the memory
    on_slow: Callable[[], None] = _go_on  # called, once or more, if it takes long: others may overtake it


PLAINLY = How()


@dataclass(frozen=True, slots=True)
class _Order(Generic[Result]):
    """What is wanted of a picture."""

    file: int  # memory with its bytes
    size: int  # how many
    how: How
    needed_side: NeededSide
    scaling: ScalingOf | None  # the decoder then says first how large the decoded picture is
    words: tuple[object, ...]  # that a decoder is told once its header is known
    taken: Callable[[Header, list[str], list[int]], Result]  # makes the result of the answer and descriptors


@dataclass(slots=True, eq=False)
class _Decoder:
    """One process, and the picture that it is decoding."""

    process: int | None
    channel: socket.socket
    pictures: int = 0
    seconds_left: float = 0.0
    on_slow: Callable[[], None] = _go_on
    is_at_rest: bool = True  # it waits for the next picture
    has_all: bool = False  # it has the whole of the memory, not a share of it

    def is_alive(self) -> bool:
        """Ask only while it is at rest: it sends nothing then, so a readable socket means that it ended."""
        self.channel.settimeout(0)
        try:
            self.channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class Decoders:
    """Safe to use from many threads."""

    def __init__(self, *, seconds: float = 60.0, memory_bytes: int = 2_000_000_000) -> None:
        """`seconds`: for each picture.  `memory_bytes`: for all of them together.

        There are as many processes as callers at once.
        """
        self._seconds = seconds
        self._memory = Budget(memory_bytes)
        self._nursery = Nursery()
        self._resting_lock = threading.Lock()
        self._resting: list[_Decoder] = []
        self._told_of: list[str] | None = None

    def __enter__(self) -> Decoders:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Begin to start the process that forks them, so that the first picture does not wait for it."""
        self._nursery.start()

    def close(self) -> None:
        with self._resting_lock:
            resting, self._resting = self._resting, []
        for decoder in resting:
            decoder.channel.close()
        self._nursery.close()

    def limit(self, *, seconds: float, memory_bytes: int) -> None:
        """Set the limits for the pictures that come from now on."""
        self._seconds = seconds
        self._memory.change(memory_bytes)

    @contextmanager
    def decoded(
        self,
        data: bytes,
        needed_side: NeededSide = at_full_size,
        how: How = PLAINLY,
        scaling: ScalingOf | None = None,
    ) -> Iterator[Picture]:
        """The picture in `data`: upright, in RGB, first frame, transparency laid on white; then scaled.

        Its memory counts until this is left.  If `needed_side` needs far less, a JPEG is decoded at a half, a
        quarter or an eighth; `facts` describe the file.

        Raises: Rejected, as `unreadable`, `unsupported`, `too_many_pixels`, `too_slow`, `too_much_memory` or
        `decoder_died`; TryLater, if the kernel ended the decoder; Surroundings, if none can be started.
        """
        with shared.lent(data) as file, ExitStack() as held:
            words = ("pixels",) if scaling is None else ("scaled",)
            order = _Order(file, len(data), how, needed_side, scaling, words, answers.picture)
            yield replace(self._done(order, held), is_scaled=scaling is not None)

    def encoded(self, data: bytes, wish: JpegWish, how: How = PLAINLY) -> Encoded:
        """The picture as a JPEG, made in the decoder's process, so that no pixel of it comes here.

        Raises: what `decoded` raises.
        """

        def needed_side(_width: int, _height: int) -> int:
            return wish.least_side // REDUCED_MARGIN

        words = "jpeg", wish.longest_side, wish.least_side, wish.quality
        with shared.lent(data) as file, ExitStack() as held:
            return self._done(_Order(file, len(data), how, needed_side, None, words, answers.encoded), held)

    def _done(self, order: _Order[Result], held: ExitStack) -> Result:
        """Carry out the order; `held` gets the memory that the result takes."""
        try:
            return self._attempt(order, held, alone=order.how.alone)
        except _NotEnough:
            held.close()
        order.how.on_slow()  # it waits until no other picture is being decoded
        return self._attempt(order, held, alone=True)

    def _attempt(self, order: _Order[Result], held: ExitStack, *, alone: bool) -> Result:
        with self._decoder(order.how, fresh=alone) as decoder:
            with self._memory.holding(ALONE if alone else HEADER_BYTES + 2 * order.size) as share:
                called_raw = int(order.how.called_raw)
                answer = self._told(decoder, share, "header", called_raw, descriptors=(order.file,))
            header = answers.header(answer, order.size)
            refuse_too_many_pixels(header, order.how.max_pixels)
            scale = scale_of(header, order.needed_side(header.width, header.height))
            needed = ALONE if alone else bytes_for(header, scale)
            if needed > self._memory.limit / 2:
                order.how.on_slow()
            share = held.enter_context(self._memory.holding(needed))
            words: tuple[object, ...] = (*order.words, scale)
            wanted = None
            if order.scaling is not None:
                answer = self._told(decoder, share, *words)
                wanted = order.scaling(*answers.decoded_size(answer))
                words = "to", wanted.width, wanted.height, int(wanted.is_mirrored)
            answer, memory = self._ask(decoder, share, *words)
            try:
                answers.check_scaled(answer, wanted)
                result = order.taken(header, answer, memory)
            except (ValueError, OSError):
                raise answers.nonsense() from None
            finally:
                _close(memory)
            decoder.is_at_rest = True
            return result

    @contextmanager
    def _decoder(self, how: How, *, fresh: bool) -> Iterator[_Decoder]:
        """A decoder for one picture.  If it is not at rest afterwards, it is ended."""
        decoder = self._taken(fresh=fresh)
        decoder.is_at_rest, decoder.seconds_left, decoder.on_slow = False, self._seconds, how.on_slow
        decoder.pictures += 1
        try:
            yield decoder
        finally:
            if decoder.is_at_rest and decoder.pictures < PICTURES_EACH:
                with self._resting_lock:
                    self._resting.append(decoder)
            else:
                self._end(decoder)

    def _taken(self, *, fresh: bool) -> _Decoder:
        while not fresh:
            with self._resting_lock:
                if not self._resting:
                    break
                decoder = self._resting.pop()
            if decoder.is_alive():
                return decoder
            self._end(decoder)  # it died at rest, so no picture is to blame
        return self._new()

    def _new(self) -> _Decoder:
        process, channel = self._nursery.fork()
        decoder = _Decoder(process, channel)
        try:
            channel.settimeout(self._seconds)
            _, *confined = wire.receive(channel)[0]
        except (EOFError, OSError, ValueError):
            raise self._verdict_on(decoder) from None
        if confined != self._told_of:
            self._told_of = confined
            log.info("decoding in processes of their own", confined_by=confined)
        return decoder

    def _end(self, decoder: _Decoder) -> int | None:
        decoder.channel.close()
        process, decoder.process = decoder.process, None
        return self._nursery.end(process) if process is not None else None

    def _told(
        self, decoder: _Decoder, share: float, *words: object, descriptors: tuple[int, ...] = ()
    ) -> list[str]:
        """The decoder's answer in words.  One that was taken over may send descriptors as well."""
        answer, memory = self._ask(decoder, share, *words, descriptors=descriptors)
        _close(memory)
        return answer

    def _ask(
        self, decoder: _Decoder, share: float, *words: object, descriptors: tuple[int, ...] = ()
    ) -> tuple[list[str], list[int]]:
        """The decoder's answer, within the picture's time."""
        began, left = time.monotonic(), max(decoder.seconds_left, 0.001)
        decoder.has_all = share >= self._memory.limit
        try:
            decoder.channel.settimeout(left)
            wire.send(decoder.channel, *words, int(share), left, descriptors=descriptors)
            answer, memory = _awaited(decoder, left)
        except TimeoutError:
            raise _too_slow(self._seconds) from None
        except (EOFError, OSError, ValueError):
            raise self._verdict_on(decoder) from None
        decoder.seconds_left = left - (time.monotonic() - began)
        if failure := self._failure(decoder, answer):
            _close(memory)
            raise failure
        return answer, memory

    def _failure(self, decoder: _Decoder, answer: list[str]) -> Exception | None:
        match answer:
            case ["exhausted"]:
                decoder.is_at_rest = True
                return _too_much_memory(self._memory.limit) if decoder.has_all else _NotEnough()
            case ["rejected", ("unreadable" | "unsupported") as kind, message, advice]:
                decoder.is_at_rest = True
                return Rejected(kind, message, stage="decode", advice=advice or None)
            case ["unforeseen", story]:
                fault = DecoderFault(story.strip().rpartition("\n")[2])
                fault.add_note(f"In a decoder's process:\n{story}")
                return fault
        return None

    def _verdict_on(self, decoder: _Decoder) -> Exception:
        """The verdict on the picture whose decoder has ended, or answers nonsense."""
        status = self._end(decoder)
        ended_by = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        if ended_by == signal.SIGXCPU:
            return _too_slow(self._seconds)
        if not decoder.has_all:
            return _NotEnough()  # some codecs crash if they get no memory; and it may have died at rest
        if status is None or ended_by == signal.SIGKILL:
            return TryLater(
                "its decoder was killed, probably because the machine's memory ran out",
                after_seconds=KILLED_RETRY_SECONDS,
                advice="Give captiond more memory, or lower limits.decode_memory_bytes, and run "
                "`captiond retry`.",
            )
        how = signal.Signals(ended_by).name if ended_by is not None else f"exit code {status >> 8}"
        return Rejected(
            "decoder_died",
            f"its decoder died of it ({how})",
            stage="decode",
            advice="If other programs open it, please report this; saved anew by one of them it may be read.",
        )


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _awaited(decoder: _Decoder, seconds: float) -> tuple[list[str], list[int]]:
    """The decoder's answer.  Raises: what wire.receive raises."""
    if seconds > SLOW_SECONDS:
        decoder.channel.settimeout(SLOW_SECONDS)
        try:
            return wire.receive(decoder.channel)
        except TimeoutError:
            decoder.on_slow()
            decoder.channel.settimeout(seconds - SLOW_SECONDS)
    return wire.receive(decoder.channel)


def _too_slow(seconds: float) -> Rejected:
    return Rejected(
        "too_slow",
        f"decoding it takes longer than limits.decode_seconds ({seconds:g})",
        stage="decode",
        advice="Save it anew with another program, or raise limits.decode_seconds, and run `captiond retry`.",
    )


def _too_much_memory(memory_bytes: float) -> Rejected:
    return Rejected(
        "too_much_memory",
        f"decoding it takes more memory than limits.decode_memory_bytes ({memory_bytes:,.0f})",
        stage="decode",
        advice="Make the picture smaller, or raise limits.decode_memory_bytes, and run `captiond retry`.",
    )
