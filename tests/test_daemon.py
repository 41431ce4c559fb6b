"""Drop a picture, get a caption: the whole daemon as its users meet it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import piexif
import pytest
from PIL import Image

from captiond.demo.samples import write_samples
from captiond.demo.scenes import Scene, draw, random_scene
from captiond.sidecar.schema import json_schema
from daemon_process import Place, Running, captiond
from fake_chat_server import FakeChatServer, Step, fails, sends
from faults.load import picture

ORIENTATION = 0x0112


def _scene(seed: int, shapes: int = 2) -> Scene:
    return random_scene(random.Random(seed), shapes)


def _encoded(
    scene: Scene, format: str = "JPEG", size: tuple[int, int] = (480, 360), **options: object
) -> bytes:
    buffer = io.BytesIO()
    draw(scene, *size).save(buffer, format, **options)
    return buffer.getvalue()


def _delivered(place: Place, name: str) -> bool:
    return (place.done / f"{name}.caption.json").exists()


def test_every_format_gets_the_right_caption(tmp_path: Path) -> None:
    """Files of every format dropped into a running daemon get the right caption in the sidecar, and JPEGs in
    their EXIF too, as exiftool (or piexif, where that is missing) reads it; all originals leave the inbox."""
    place = Place(tmp_path)
    samples = write_samples(tmp_path / "drawn", seed=0)
    names = {str(sample.path.relative_to(tmp_path / "drawn")): sample.caption for sample in samples}
    with place.running() as running:
        for name in names:
            place.drop((tmp_path / "drawn" / name).read_bytes(), name)
        running.until(lambda: all(_delivered(place, name) for name in names))
        running.until(lambda: not place.left_in_inbox())
    for name, caption in names.items():
        record = place.sidecar(name)
        assert record["caption"] == caption, name
        jsonschema.validate(record, json_schema())
    jpegs = [name for name in names if name.endswith((".jpg", ".jpeg"))]
    assert len(jpegs) >= 4
    for name in jpegs:
        assert _exif_description(place.done / name) == names[name]
    assert not any(place.failed.rglob("*.error.json"))


def _exif_description(path: Path) -> str:
    if exiftool := shutil.which("exiftool"):
        command = [exiftool, "-charset", "exif=UTF8", "-s3", "-IFD0:ImageDescription", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    description: bytes = piexif.load(str(path))["0th"][piexif.ImageIFD.ImageDescription]
    return description.decode()


def test_the_picture_itself_is_not_changed(place: Place) -> None:
    """Pixels, EXIF tags, permissions and the time to the nanosecond are those of the original."""
    exif = Image.Exif()
    exif[0x010F], exif[ORIENTATION] = "A camera", 1
    data = _encoded(_scene(1), exif=exif, quality=90)
    dropped = place.drop(data, "photo.jpg")
    dropped.chmod(0o640)
    os.utime(dropped, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    assert place.once().returncode == 0
    published = place.done / "photo.jpg"
    with Image.open(published) as after, Image.open(io.BytesIO(data)) as before:
        assert after.tobytes() == before.tobytes()
        assert after.getexif()[0x010F] == "A camera"
    status = published.stat()
    assert status.st_mtime_ns == 1_600_000_000_123_456_789 and status.st_mode & 0o777 == 0o640


def test_what_cannot_be_read_fails_with_its_reason_and_its_bytes(
    tmp_path: Path, server: FakeChatServer
) -> None:
    """A broken picture goes to failed/ byte for byte with a reason; its neighbours are delivered."""
    watch = {"settle_seconds": 0.2, "incomplete_after_seconds": 0.5}
    place = Place(tmp_path, {"watch": watch, "model": server.settings})
    good, caption = picture(0)
    broken = b"GIF? No: this was never a picture."
    place.drop(good, "trip/good.jpg")
    place.drop(broken, "trip/broken.jpg")
    place.drop(good[: len(good) // 2], "trip/half.jpg")
    finished = place.once()
    assert finished.returncode == 1, finished.stderr
    assert place.sidecar("trip/good.jpg")["caption"] == caption
    assert (place.failed / "trip/broken.jpg").read_bytes() == broken
    assert place.error("trip/broken.jpg")["kind"] == "unreadable"
    assert (place.failed / "trip/half.jpg").read_bytes() == good[: len(good) // 2]
    assert place.error("trip/half.jpg")["kind"] == "truncated" and place.error("trip/half.jpg")["advice"]
    assert place.left_in_inbox() == []


def test_what_is_no_picture_stays_untouched(tmp_path: Path, place: Place) -> None:
    """Documents, hidden and temporary names and links stay in the inbox and are not failures."""
    for name in ("letter.pdf", ".photo.jpg.Xy12Zw", "photo.jpg.part", ".DS_Store"):
        place.drop(b"not ours", name)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(_encoded(_scene(3)))
    (place.inbox / "link.jpg").symlink_to(outside)
    os.mkfifo(place.inbox / "fifo.jpg")
    assert place.once().returncode == 0
    assert {path.name for path in place.inbox.iterdir()} >= {
        "letter.pdf",
        "photo.jpg.part",
        "link.jpg",
        "fifo.jpg",
    }
    assert not any(path.is_file() for path in place.done.glob("*")) and outside.exists()


def test_names_are_kept_and_never_taken_twice(place: Place) -> None:
    """Sub-folders, spaces, accents and bytes that are not UTF-8 stay; a taken name gets another."""
    (place.done / "photo.jpg").write_bytes(b"somebody's")
    odd = os.fsdecode(b"caf\xe9.jpg")
    captions = {}
    for number, name in enumerate(("photo.jpg", "a b/Grüße aus Köln.jpg", odd)):
        data, captions[name] = picture(number)
        place.drop(data, name)
    finished = place.once()
    assert finished.returncode == 0, finished.stderr
    assert (place.done / "photo.jpg").read_bytes() == b"somebody's"
    (other,) = place.done.glob("photo~*.jpg")
    assert place.sidecar(other.name)["caption"] == captions["photo.jpg"]
    assert place.sidecar("a b/Grüße aus Köln.jpg")["caption"] == captions["a b/Grüße aus Köln.jpg"]
    record = place.sidecar(odd)
    assert record["caption"] == captions[odd]
    assert bytes.fromhex(record["source"]["name_hex"]) == b"caf\xe9.jpg"


def test_a_picture_still_being_written_is_waited_for(place: Place) -> None:
    """A slow writer gets the time it needs; the caption is that of the whole picture."""
    data, caption = picture(5_000, format="PNG")
    with place.running() as running:
        with (place.inbox / "slow.png").open("wb") as writer:
            for start in range(0, len(data), len(data) // 3 + 1):
                writer.write(data[start : start + len(data) // 3 + 1])
                writer.flush()
                time.sleep(0.4)  # twice as long as a file must be quiet
                assert not _delivered(place, "slow.png")
        running.until(lambda: _delivered(place, "slow.png"))
    assert place.sidecar("slow.png")["caption"] == caption
    assert place.sidecar("slow.png")["source"]["bytes"] == len(data)


def test_one_line_tells_one_pictures_story(place: Place) -> None:
    """The log holds exactly one line for a delivered picture, with its caption and timings."""
    data, caption = picture(8)
    place.drop(data, "photo.jpg")
    finished = place.once()
    lines = [json.loads(line) for line in finished.stderr.splitlines()]
    stories = [line for line in lines if line.get("file") == "photo.jpg"]
    assert len(stories) == 1 and stories[0]["event"] == "captioned"
    assert stories[0]["caption"] == caption and stories[0]["total"] > 0


def test_a_second_daemon_on_the_same_inbox_is_refused(place: Place) -> None:
    """One inbox has one daemon; the other says so and exits with 75."""
    with place.running():
        second = place.once()
    assert second.returncode == 75 and "another" in second.stderr


def test_stopping_finishes_what_is_in_work(place: Place, server: FakeChatServer) -> None:
    """SIGTERM in the middle of a load of pictures exits 0 and leaves every picture whole in one place."""
    names = [f"{number:02}.jpg" for number in range(40)]
    with place.running() as running:
        server.seconds_per_answer = 0.2
        for number, name in enumerate(names):
            place.drop(picture(number)[0], name)
        running.until(lambda: any(_delivered(place, name) for name in names))
    server.seconds_per_answer = 0.0
    assert any((place.inbox / name).exists() for name in names)
    for number, name in enumerate(names):
        is_delivered, is_waiting = _delivered(place, name), (place.inbox / name).exists()
        assert is_delivered != is_waiting, name
        if is_delivered:
            assert place.sidecar(name)["caption"] == picture(number)[1]
    assert [path.name for path in place.done.glob(".captiond/*") if path.is_file()] == ["lock"]
    assert place.once().returncode == 0 and all(_delivered(place, name) for name in names)


def test_a_second_signal_leaves_at_once(place: Place, server: FakeChatServer) -> None:
    """Whoever insists gets the terminal back, while a server keeps the first stop waiting."""
    running = Running(place, {})
    running.until(lambda: "watching" in running.log())
    server.seen.clear()  # the daemon's own question at the start
    server.seconds_per_answer = 30
    place.drop(picture(9)[0], "photo.jpg")
    running.until(lambda: server.seen)
    running.process.send_signal(signal.SIGINT)
    running.until(lambda: "stopping" in running.log())
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(5) == 128 + signal.SIGINT
    assert (place.inbox / "photo.jpg").exists() and not _delivered(place, "photo.jpg")


@pytest.mark.long
@pytest.mark.parametrize("step", [sends(b"<html>Welcome</html>"), sends(b'{"choices": []}'), fails(500)])
def test_a_server_that_answers_nothing_of_use_pauses_and_charges_no_picture(
    place: Place, server: FakeChatServer, step: Step
) -> None:
    """A page in its place, or an error to everything, is nobody's fault, however often it is met."""
    with place.running() as running:
        server.always = step
        for number in range(5):
            place.drop(picture(number)[0], f"{number}.jpg")
        running.until(lambda: running.log().count("still paused") >= 2)
        server.always = None
        running.until(lambda: not place.left_in_inbox())
    assert [place.sidecar(f"{number}.jpg")["attempts"] for number in range(5)] == [1] * 5
    assert not [path for path in place.failed.iterdir() if path.name != ".captiond"]


def test_a_dead_server_pauses_and_charges_no_picture(place: Place, server: FakeChatServer) -> None:
    """While the model server is down everything waits in the inbox; when it is back all are delivered at
    their first attempt and failed/ stays empty."""
    with place.running() as running:
        server.always = fails(503)
        for number in range(5):
            place.drop(picture(number)[0], f"{number}.jpg")
        running.until(lambda: "paused" in running.log())
        assert len(place.left_in_inbox()) == 5
        server.always = None
        running.until(lambda: all(_delivered(place, f"{number}.jpg") for number in range(5)))
    assert not list(place.failed.glob("*.jpg*"))
    assert {place.sidecar(f"{number}.jpg")["attempts"] for number in range(5)} == {1}


def test_the_default_model_without_a_network_says_what_is_missing(tmp_path: Path) -> None:
    """With the default model, an empty cache and no network, `run` says within seconds what is missing and
    what to do, and exits with 75."""
    place = Place(tmp_path)
    place.settings.write_text(json.dumps({"folders": json.loads(place.settings.read_text())["folders"]}))
    finished = captiond("run", "-c", place.settings, HF_HOME=str(tmp_path / "empty-cache"))
    assert finished.returncode == 75
    for word in ("microsoft/Phi-3.5-vision-instruct", "not in the cache", "HF_HUB_OFFLINE", "hf download"):
        assert word in finished.stderr


def test_folders_inside_one_another_are_refused(tmp_path: Path) -> None:
    """A done folder inside the inbox would be captioned for ever: refused with 78."""
    place = Place(tmp_path, {"folders": {"done": "inbox/done"}})
    (place.inbox / "done").mkdir()
    finished = place.once()
    assert finished.returncode == 78 and "inside" in finished.stderr


@pytest.mark.parametrize("name", ["inbox", "done", "failed"])
def test_a_missing_folder_is_named(name: str, tmp_path: Path) -> None:
    """A folder that is not there is named, nothing is created in its place, and the exit code is 75."""
    place = Place(tmp_path)
    (tmp_path / name).rmdir()
    finished = place.once()
    assert finished.returncode == 75 and str(tmp_path / name) in finished.stderr
    assert not (tmp_path / name).exists()
