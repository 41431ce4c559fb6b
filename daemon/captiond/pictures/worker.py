"""The decoders' processes: one that starts them, and those that it starts.

The first imports what decoding needs, once, and forks a decoder whenever the daemon asks for one, which takes
milliseconds.  A decoder reads pictures from a socket and writes pixels into memory that it hands over; it has
no file, no network and no more memory than the picture's share.  Both end when the daemon does: the first
finds its socket closed and kills the others, and they die with it.

    python -m captiond.pictures.worker DESCRIPTOR
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from captiond import jpeg
from captiond.encoded import JpegWish
from captiond.errors import Rejected
from captiond.pictures import converting, sandbox, shared, wire
from captiond.pictures.decoding import Decoded, Reading
from captiond.scaling import Scaling

_LONGEST_STORY = 8000  # characters of a traceback
_EVER = resource.RLIM_INFINITY
_FIRST_TO_GO = 800  # of 1000: if memory runs out, the kernel kills a decoder before the daemon
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>
_KEPT_BYTES = 32 << 20  # the most that glibc takes for the second
_SPARE_SECONDS = 5.0  # of processor time before the kernel ends a decoder that the daemon did not end


def main(descriptor: int) -> None:
    """Fork decoders, as the socket asks for them, until it is closed."""
    asking = socket.socket(fileno=descriptor)
    children: set[int] = set()
    try:
        while True:
            words, descriptors = wire.receive(asking)
            match words:
                case ["end", number]:
                    wire.send(asking, *_ended(int(number), children))
                case ["start"]:
                    with socket.socket(fileno=descriptors[0]) as channel:
                        parent, child = os.getpid(), os.fork()
                        if child == 0:
                            asking.close()
                            serve_alone(channel, parent)
                            return
                    children.add(child)
                    wire.send(asking, child)
    except (EOFError, ConnectionError):
        pass  # the daemon has ended
    for child in list(children):
        _ended(child, children)


def _ended(child: int, children: set[int]) -> list[int]:
    """Make sure that `child` ends; its status, or nothing if it is not ours.

    It may be a decoder of the nursery before this one, which ended with that.
    """
    if child not in children:
        return []
    children.discard(child)
    os.kill(child, signal.SIGKILL)  # changes nothing if it ended by itself
    return [os.waitpid(child, 0)[1]]


def serve_alone(channel: socket.socket, parent: int) -> None:
    """What a decoder does from its first moment to its last."""
    sandbox.die_with(parent)
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("r+b") as nowhere:  # some libraries print warnings about a file
        for standard in (0, 1, 2):
            os.dup2(nowhere.fileno(), standard)
    _volunteer()
    _keep_freed_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bounds = Bounds()
    wire.send(channel, "confined", *sandbox.confine())
    serve(channel, bounds)


def _volunteer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_FIRST_TO_GO))
    except OSError:
        pass  # some containers do not allow it


def _keep_freed_memory() -> None:
    """Let the next picture's pixels lie where the last one's were.

    Else glibc gives freed memory back at once, and the kernel clears it anew: up to a third of a small
    picture's time.  Less is kept than any picture's share, so that none finds its share taken.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


class Bounds:
    """The memory and processor time that one picture may take, and whether memory ran out."""

    def __init__(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        self._own_bytes = pages * mmap.PAGESIZE  # numpy and Pillow: 150 MB
        self._errno = ctypes.CDLL(None)["__errno_location"]
        self._errno.restype = ctypes.POINTER(ctypes.c_int)

    def set(self, memory_bytes: int, seconds: float) -> None:
        """Allow so much memory beyond the process's own, and so much more processor time, from now on."""
        resource.setrlimit(resource.RLIMIT_AS, (self._own_bytes + memory_bytes, _EVER))
        used = resource.getrusage(resource.RUSAGE_SELF)
        processor = math.ceil(used.ru_utime + used.ru_stime + seconds + _SPARE_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (processor, _EVER))
        self._errno()[0] = 0

    def were_met(self) -> bool:
        """Whether an allocation failed: many codecs then report a damaged file."""
        return bool(self._errno()[0] == errno.ENOMEM)


def serve(channel: socket.socket, bounds: Bounds) -> None:
    """Serve one picture after the other, until the socket is closed."""
    while True:
        try:
            words, descriptors = wire.receive(channel)
        except EOFError:
            return
        try:
            match words, descriptors:
                case ["header", called_raw, memory_bytes, seconds], [file]:
                    bounds.set(int(memory_bytes), float(seconds))
                    _serve_one(channel, _contents(file), bounds, called_raw=called_raw == "1")
        except MemoryError:
            wire.send(channel, "exhausted")
        except Rejected as rejected:
            if bounds.were_met():
                wire.send(channel, "exhausted")
            else:
                wire.send(channel, "rejected", rejected.kind, rejected.message, rejected.advice or "")
        except Exception:
            wire.send(channel, "unforeseen", traceback.format_exc()[-_LONGEST_STORY:])
            raise


def _contents(file: int) -> bytes | mmap.mmap:
    """The file's bytes without a copy; an empty file cannot be mapped."""
    try:
        return mmap.mmap(file, 0, access=mmap.ACCESS_READ) if os.fstat(file).st_size else b""
    finally:
        os.close(file)


def _serve_one(channel: socket.socket, data: bytes | mmap.mmap, bounds: Bounds, *, called_raw: bool) -> None:
    """Send what the header says; then, if the daemon goes on with the picture, its pixels or a JPEG."""
    reading = Reading(data, called_raw=called_raw)
    header = reading.header
    wire.send(
        channel, "header", header.format, header.mode, header.width, header.height, int(header.is_progressive)
    )
    match wire.receive(channel)[0]:
        case ["pixels", scale, memory_bytes, seconds]:
            bounds.set(int(memory_bytes), float(seconds))
            decoded = reading.decode(int(scale))
            _hand_over_pixels(channel, decoded.strips(), decoded.size, decoded)
        case ["scaled", scale, memory_bytes, seconds]:
            bounds.set(int(memory_bytes), float(seconds))
            _hand_over_scaled(channel, reading.decode(int(scale)), bounds)
        case ["jpeg", longest, least, quality, scale, memory_bytes, seconds]:
            bounds.set(int(memory_bytes), float(seconds))
            wish = JpegWish(int(longest), int(least), int(quality))
            _hand_over_jpeg(channel, reading.decode(int(scale)), wish)


def _hand_over_scaled(channel: socket.socket, decoded: Decoded, bounds: Bounds) -> None:
    """Say how large the picture is; then it is scaled as the daemon asks."""
    wire.send(channel, "decoded", *decoded.size)
    match wire.receive(channel)[0]:
        case ["to", width, height, mirrored, memory_bytes, seconds]:
            bounds.set(int(memory_bytes), float(seconds))
            wanted = Scaling(int(width), int(height), is_mirrored=mirrored == "1")
            scaled = converting.scaled(decoded.whole(), wanted)
            _hand_over_pixels(channel, iter((scaled,)), scaled.size, decoded)


def _hand_over_pixels(
    channel: socket.socket, strips: Iterator[Image.Image], size: tuple[int, int], decoded: Decoded
) -> None:
    """Hand over four bytes a pixel, as Pillow keeps RGB, with the colour profile behind them."""
    with shared.made() as memory:
        for strip in strips:
            memory.write(strip.tobytes("raw", "RGBX"))
        profile = decoded.profile or b""
        memory.write(profile)
        memory.flush()
        words = "pixels", *size, len(profile), *_told(decoded)
        wire.send(channel, *words, descriptors=(memory.fileno(),))


def _hand_over_jpeg(channel: socket.socket, decoded: Decoded, wish: JpegWish) -> None:
    with shared.made() as memory:
        jpeg.save(decoded.whole(), decoded.profile, wish, memory)
        memory.flush()
        wire.send(channel, "jpeg", *_told(decoded), descriptors=(memory.fileno(),))


def _told(decoded: Decoded) -> list[str]:
    """The luminance, then the notices, as words."""
    light = [str(number) for number in decoded.luminance()]
    return light + [word for notice in decoded.notices for word in (notice.code, notice.message)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
