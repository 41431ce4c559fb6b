"""Pictures that are scaled where they are decoded: the model is shown the same bytes."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from PIL import Image

from captiond.errors import Rejected
from captiond.phi3v import Phi3VImageProcessor, Seen
from captiond.pictures import pool, shared, wire
from captiond.pictures.pool import Decoders
from captiond.scaling import Scaling

ORIENTATION = 0x0112
SIZES = [(640, 480), (480, 640), (333, 500), (500, 333), (100, 100), (2000, 9), (3, 1500), (1, 1), (448, 309)]
PROCESSOR = Phi3VImageProcessor(num_crops=4, crop_size=84)


def by_the_model(width: int, height: int) -> Scaling:
    return Scaling(*PROCESSOR.scaling(width, height))


def _noise(width: int, height: int, mode: str = "RGB", orientation: int = 1, format: str = "PNG") -> bytes:
    rng = np.random.default_rng(width * height)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, exif=exif)
    return buffer.getvalue()


def _shown(seen: Seen) -> list[torch.Tensor]:
    assert seen.pictures is not None
    return [one.pixels for one in seen.pictures]


def _is_the_same(decoders: Decoders, data: bytes) -> bool:
    with decoders.decoded(data, PROCESSOR.long_side) as whole:
        here, facts = _shown(Seen.of(PROCESSOR, [whole.image])), whole.facts
        assert not whole.is_scaled
    with decoders.decoded(data, PROCESSOR.long_side, scaling=by_the_model) as scaled:
        assert scaled.is_scaled and scaled.facts == facts and max(scaled.image.size) <= 4 * 84
        there = _shown(Seen.of_scaled(PROCESSOR, [scaled.image]))
    return all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_model_is_shown_the_same(decoders: Decoders, size: tuple[int, int]) -> None:
    """Landscapes, portraits, strips and dots: bit for bit what scaling the decoded picture here gives."""
    assert _is_the_same(decoders, _noise(*size))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_however_it_is_stored(decoders: Decoders, mode: str, orientation: int) -> None:
    """Turned upright first, and in RGB, since the model scales what a person would see."""
    format = "JPEG" if mode == "CMYK" else "PNG"
    assert _is_the_same(decoders, _noise(131, 90, mode, orientation, format))


def test_a_jpeg_that_is_decoded_at_a_quarter(decoders: Decoders) -> None:
    """It is scaled from there, as before."""
    assert _is_the_same(decoders, _noise(1600, 1200, "RGB", 6, "JPEG"))


HEADER = ["header", "PNG", "RGB", "640", "480", "0"]
LIES = {
    "another size": [HEADER, ["decoded", "640", "480"], ["pixels", "10", "10", "0", "1", "1"]],
    "no size": [HEADER, ["decoded", "", "480"]],
    "a negative one": [HEADER, ["decoded", "-3", "480"]],
    "nothing": [HEADER, ["decoded", "0", "0"]],
    "a thousand digits": [HEADER, ["decoded", "9" * 5000, "480"]],
    "another script's digits": [HEADER, ["decoded", "\u0663", "480"]],
    "something else": [HEADER, ["pixels", "640", "480", "0", "1", "1"]],
    "a header without a size": [["header", "PNG", "RGB", "", "480", "0"]],
    "a header of a thousand digits": [["header", "PNG", "RGB", "9" * 5000, "480", "0"]],
    "no header": [["pixels", "640", "480", "0", "1", "1"]],
}


@contextmanager
def _liar(lies: list[list[str]]) -> Iterator[Decoders]:
    """Decoders that say what they are told to, each time with memory."""
    threads: list[threading.Thread] = []

    class Liars:
        def fork(self) -> tuple[None, socket.socket]:
            ours, theirs = wire.pair()
            threads.append(threading.Thread(target=_lie, args=(theirs, lies)))
            threads[-1].start()
            return None, ours

        def close(self) -> None:
            pass

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pool, "Nursery", Liars)
        decoders = Decoders()
    yield decoders
    decoders.close()
    for thread in threads:
        thread.join()


def _lie(channel: socket.socket, lies: list[list[str]]) -> None:
    with channel, suppress(EOFError):
        wire.send(channel, "confined")
        for words in lies:
            for descriptor in wire.receive(channel)[1]:
                os.close(descriptor)
            with shared.made() as memory:
                memory.write(bytes(10 * 10 * shared.BYTES_EACH))
                memory.flush()
                wire.send(channel, *words, descriptors=(memory.fileno(),))


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
def test_what_a_decoder_says_of_a_size_is_checked(lies: list[list[str]]) -> None:
    """One that a picture has taken over costs that picture alone, whatever it says, and no descriptor."""
    before = os.listdir("/proc/self/fd")
    with _liar(lies) as decoders, pytest.raises(Rejected, match="what no decoder says"):
        decoders.decoded(_noise(4, 4), scaling=by_the_model).__enter__()
    assert len(os.listdir("/proc/self/fd")) == len(before)
