"""The decoders' processes: what becomes of one is one picture's affair, and none gets out of its bounds."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from captiond import jpeg
from captiond.encoded import JpegWish
from captiond.errors import Rejected, TryLater
from captiond.pictures import shared
from captiond.pictures.decoding import decode
from captiond.pictures.pool import DecoderFault, Decoders, How
from daemon_process import environment
from hostile.making import rle_bitmap, vast_tile, vast_webp

ORIENTATION = 0x0112
ENOUGH = 1_000_000_000  # pixels


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def small(colour: str = "teal") -> bytes:
    return encoded(Image.new("RGB", (40, 30), colour), "PNG")


def size_of(decoders: Decoders, data: bytes) -> tuple[int, int]:
    with decoders.decoded(data) as picture:
        return picture.image.size


def refusal(decoders: Decoders, data: bytes) -> Rejected:
    with pytest.raises(Rejected) as refused:
        size_of(decoders, data)
    return refused.value


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 131, 4), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
def test_a_decoder_gives_what_decoding_here_gives(
    decoders: Decoders, noise: Image.Image, mode: str, orientation: int
) -> None:
    """Pixel by pixel, with the same facts, in RGB."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(noise.convert("RGB").convert(mode) if mode != "RGBA" else noise, "PNG", exif=exif)
    here = decode(data, max_pixels=ENOUGH)
    with decoders.decoded(data) as there:
        assert (there.facts, there.image.mode) == (here.facts, "RGB")
        assert there.image.size == here.image.size and there.image.tobytes() == here.image.tobytes()
        assert there.image.convert("L").tobytes() == here.image.convert("L").tobytes()


def test_a_decoder_makes_jpegs_smaller_and_hands_their_colour_profile_on(decoders: Decoders) -> None:
    """As decoding here does; who changes the picture changes a copy of it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.effect_noise((800, 600), 60).convert("RGB")
    data = encoded(image, "JPEG", icc_profile=profile)
    here = decode(data, max_pixels=ENOUGH, needed_side=lambda *_: 100)
    with decoders.decoded(data, lambda *_: 100) as there:
        assert there.image.size == here.image.size == (200, 150)
        assert there.image.tobytes() == here.image.tobytes()
        assert there.image.info["icc_profile"] == profile
        there.image.putpixel((0, 0), (1, 2, 3))
        assert there.image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("size", [(400, 300), (4032, 3024), (5000, 70)])
def test_a_decoder_makes_the_very_jpeg_that_would_be_made_here(
    decoders: Decoders, size: tuple[int, int]
) -> None:
    """Byte by byte, in sRGB, and nothing of the file's metadata in it."""
    wish = JpegWish(longest_side=2048, least_side=2000, quality=90)
    exif = Image.Exif()
    exif.update({ORIENTATION: 6, 0x010E: "at home"})
    image = Image.effect_noise((size[0] // 4, size[1] // 4), 60).resize(size).convert("RGB")
    for profile in (None, _wide_profile()):
        data = encoded(image, "JPEG", exif=exif, icc_profile=profile, comment=b"a comment")
        here = decode(data, max_pixels=ENOUGH, needed_side=lambda *_: 1000)
        buffer = io.BytesIO()
        jpeg.save(here.image, here.image.info.get("icc_profile"), wish, buffer)
        there = decoders.encoded(data, wish)
        assert (there.jpeg, there.facts) == (buffer.getvalue(), here.facts)
        assert b"at home" not in there.jpeg and b"a comment" not in there.jpeg


def _wide_profile() -> bytes:
    """Not sRGB: red and green change places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(128, len(profile) - 12):
        if profile[at : at + 4] == b"rXYZ":
            profile[at : at + 4] = b"gXYZ"
        elif profile[at : at + 4] == b"gXYZ":
            profile[at : at + 4] = b"rXYZ"
    return bytes(profile).replace(b"s\0R\0G\0B", b"w\0i\0d\0e").replace(b"\0s\0R\0G\0B", b"\0w\0i\0d\0e")


def test_what_is_wrong_with_a_picture_is_said_as_it_is_here(decoders: Decoders) -> None:
    """The kind, the words and the advice come through; the same decoder serves the next."""
    for data in (b"a letter", small()[:60], encoded(Image.new("1", (2000, 2000)), "PNG")):
        with pytest.raises(Rejected) as here:
            decode(data, max_pixels=1000)
        with pytest.raises(Rejected) as there, decoders.decoded(data, how=How(1000)):
            pass
        assert vars(there.value) == vars(here.value)


def test_what_takes_too_long_is_ended_and_the_next_is_served() -> None:
    """As `too_slow`, soon after its time; a new decoder is there in no time."""
    with Decoders(seconds=0.7) as decoders:
        size_of(decoders, small())
        began = time.monotonic()
        assert refusal(decoders, rle_bitmap()).kind == "too_slow"
        assert time.monotonic() - began < 5
        assert size_of(decoders, small()) == (40, 30)
        assert time.monotonic() - began < 6


@pytest.mark.parametrize("data", [vast_tile(), vast_webp()], ids=["tile", "webp"])
def test_what_takes_too_much_memory_is_refused(data: bytes) -> None:
    """As `too_much_memory`, however the codec tells of it, and nobody holds any of it afterwards."""
    with Decoders(memory_bytes=300_000_000) as decoders:
        refused = refusal(decoders, data)
        assert refused.kind == "too_much_memory" and "300,000,000" in refused.message and refused.advice
        assert size_of(decoders, small()) == (40, 30)


def test_what_needs_more_than_its_share_gets_all_of_it() -> None:
    """A picture whose header tells of far less than it takes is tried again alone, and comes through."""
    data = vast_tile(12_000, is_whole=True)  # 144 MB for 256 pixels
    with Decoders(memory_bytes=600_000_000) as decoders:
        assert size_of(decoders, data) == (16, 16)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_picture_that_kills_its_decoder_harms_nobody_else(how: signal.Signals) -> None:
    """It is tried once more, with all the memory, then it is `decoder_died`; the next comes through."""
    with Watched() as decoders, ThreadPoolExecutor(1) as pool:
        bad = pool.submit(refusal, decoders, rle_bitmap())
        for _ in range(2):
            decoders.end_one_at_work(how)
        assert bad.result().kind == "decoder_died" and how.name in bad.result().message
        assert size_of(decoders, small()) == (40, 30)


def test_a_decoder_that_the_kernel_takes_is_no_fault_of_the_picture() -> None:
    """Where memory runs out the kernel kills a decoder: the picture is tried alone, and then later."""
    with Watched() as decoders, ThreadPoolExecutor(1) as pool:
        unlucky = pool.submit(size_of, decoders, rle_bitmap())
        for _ in range(2):
            decoders.end_one_at_work(signal.SIGKILL)
        with pytest.raises(TryLater, match="killed"):
            unlucky.result()
        assert size_of(decoders, small()) == (40, 30)


def test_a_decoder_that_ends_at_rest_costs_no_picture() -> None:
    """It was nobody's picture, so nobody's is told of it."""
    with Watched() as decoders:
        for _ in range(5):
            size_of(decoders, small())
            for decoder in decoders.processes():
                os.kill(decoder, signal.SIGKILL)
        assert size_of(decoders, small()) == (40, 30)


def test_the_process_that_forks_may_end_too() -> None:
    """It takes its decoders with it; the next picture finds a new one."""
    with Watched() as decoders:
        for _ in range(3):
            size_of(decoders, small())
            left = [decoders.nursery(), *decoders.processes()]
            os.kill(left[0], signal.SIGKILL)
            _until(lambda left=left: not any(map(_is_running, left)))  # type: ignore[misc]
        assert size_of(decoders, small()) == (40, 30)


def test_no_decoder_outlives_the_daemon(tmp_path: Path) -> None:
    """Killed without a word in the middle of a picture, it leaves no process behind."""
    (tmp_path / "slow.bmp").write_bytes(rle_bitmap())
    code = (
        "import pathlib, sys; from captiond.pictures.pool import Decoders\n"
        "with Decoders() as decoders:\n"
        "    with decoders.decoded(pathlib.Path(sys.argv[1]).read_bytes()): pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "slow.bmp")]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as daemon:
        _until(lambda: any(_children(one) for one in _children(daemon.pid)))
        all_of_them = [one for child in _children(daemon.pid) for one in (child, *_children(child))]
        time.sleep(0.3)  # well into the picture
        daemon.kill()
    _until(lambda: not any(_is_running(one) for one in all_of_them))


def test_a_mistake_of_ours_in_a_decoder_is_told_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither `unreadable` nor a death: an error with its story, and the next picture is served."""
    (tmp_path / "sitecustomize.py").write_text(
        "import numpy\n\ndef mistaken(_):\n    raise TypeError('ours')\n\nnumpy.rint = mistaken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    deep = encoded(Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG")
    with Decoders() as decoders:
        with pytest.raises(DecoderFault, match="TypeError: ours") as fault:
            size_of(decoders, deep)
        assert "converting.py" in fault.value.__notes__[0]
        assert size_of(decoders, small()) == (40, 30)


def test_decoders_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the daemon's environment for others is not handed on."""
    monkeypatch.setenv("CAPTIOND_MODEL__API_KEY", "sk-very-secret")
    with Watched() as decoders:
        size_of(decoders, small())
        for process in (decoders.nursery(), *decoders.processes()):
            assert b"secret" not in Path(f"/proc/{process}/environ").read_bytes()


def test_nothing_is_left_open(decoders: Decoders) -> None:
    """A hundred pictures, good and bad, hold no descriptor and no memory by the end."""

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    size_of(decoders, small())
    before = opened()
    for _ in range(50):
        size_of(decoders, small())
        refusal(decoders, b"a letter")
    assert opened() <= before


def test_memory_that_holds_something_else_is_no_picture() -> None:
    """What a decoder hands over is measured before it is looked at: nothing is read behind its end."""
    with shared.lent(bytes(4 * 6)) as memory, pytest.raises(OSError):  # it could still be cut short
        shared.image_of(memory, 3, 2, 0)
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(memory, bytes(4 * 6 + 5))
    try:
        for width, height, profile in ((3, 2, 0), (4, 2, 5), (-3, -2, 5), (0, 0, 29), (3, 3, -7)):
            with pytest.raises(ValueError):
                shared.image_of(memory, width, height, profile)
        image = shared.image_of(memory, 3, 2, 5)
        assert image.size == (3, 2) and len(image.info["icc_profile"]) == 5
        with pytest.raises(OSError):
            os.ftruncate(memory, 1)
    finally:
        os.close(memory)


SANDBOX = """
import errno, os, signal, socket, sys
from captiond.pictures import decoding, sandbox

def refused(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES)
    return False

parent, readable, folder, picture = os.getppid(), *sys.argv[1:4]
data = open(picture, "rb").read()
setattr(sandbox, "_" + sys.argv[4], lambda: False)
held = sandbox.confine()
writing = os.O_WRONLY | os.O_CREAT
found = {
    "write": refused(os.open, folder + "/new", writing),
    "append": refused(os.open, readable, os.O_WRONLY | os.O_APPEND),
    "remove": refused(os.unlink, readable),
    "folder": refused(os.mkdir, folder + "/new"),
    "rename": refused(os.rename, readable, readable + "2"),
    "network": refused(socket.socket, socket.AF_INET),
    "unix": refused(socket.socket, socket.AF_UNIX),
    "run": refused(os.execv, "/bin/true", ["true"]),
    "fork": refused(lambda: os.fork() or os._exit(0)),
    "kill": refused(os.kill, parent, 0),
    "read": refused(os.open, readable, os.O_RDONLY),
    "size": decoding.decode(data, max_pixels=10**6).image.size == (40, 30),
}
print(*held, "|", *(name for name, is_so in found.items() if not is_so))
"""


@pytest.mark.parametrize("without", ["nothing", "landlock", "seccomp"])
def test_a_decoder_reaches_nothing(tmp_path: Path, without: str) -> None:
    """No file, network, program or process; and it decodes.  Where the kernel lacks one, the other holds."""
    (tmp_path / "readable").write_text("a secret")
    (tmp_path / "picture.png").write_bytes(small())
    arguments = [tmp_path / "readable", tmp_path, tmp_path / "picture.png", without]
    ran = subprocess.run(
        [sys.executable, "-c", SANDBOX, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    held, _, possible = ran.stdout.partition("|")
    if not held.split():
        pytest.skip("this kernel has neither Landlock nor seccomp")
    left = {"unix", "fork"} if "seccomp" not in held else set()
    left |= {"read"} if "landlock" not in held else set()
    old_landlock = {"network", "kill"} if "seccomp" not in held else set()
    assert set(possible.split()) - old_landlock <= left


# ---- looking at processes ------------------------------------------------------------------------


class Watched(Decoders):
    """Whose processes can be seen from outside, as a person would see them."""

    def __enter__(self) -> Watched:
        self._others = set(_children(os.getpid()))
        super().__enter__()
        return self

    def nursery(self) -> int:
        (mine,) = (one for one in _children(os.getpid()) if one not in self._others and _is_running(one))
        return mine

    def processes(self) -> list[int]:
        return [one for one in _children(self.nursery()) if _is_running(one)]

    def end_one_at_work(self, how: signal.Signals) -> None:
        """One that has used a core for a while."""

        def at_work() -> list[int]:
            return [one for one in self.processes() if _cpu_ticks(one) > 20]

        _until(at_work)
        decoder = at_work()[0]
        os.kill(decoder, how)
        _until(lambda: not _is_running(decoder))


def _children(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == process:
            found.append(int(stat.parent.name))
    return found


def _cpu_ticks(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])
    except (OSError, IndexError):
        return 0


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
