"""The commands as people and scripts meet them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import jsonschema

from captiond import __version__
from captiond.cli import app
from captiond.demo.samples import write_samples
from captiond.sidecar.schema import error_schema, json_schema
from daemon_process import Place, captiond, environment
from fake_chat_server import FakeChatServer
from faults.load import picture

GOLDEN = Path(__file__).parent / "phi3v" / "golden"


def test_caption_prints_json_in_the_order_given(tmp_path: Path) -> None:
    """`caption --json` on a checkpoint folder prints one object a line, in order: the sidecar's keys from
    `caption` on, or the error; a failed file makes the exit code 1 and stops nobody."""
    missing = tmp_path / "missing.png"
    (tmp_path / "captiond.yaml").write_text(json.dumps({"caption": {"max_new_tokens": 4}}))
    files = [GOLDEN / "images/square_336.png", missing, GOLDEN / "images/land_640x480.png"]
    model = ("--model", GOLDEN / "checkpoint", "-c", tmp_path / "captiond.yaml")
    finished = captiond("caption", *files, *model, "--json")
    assert finished.returncode == 1, finished.stderr
    first, failed, last = (json.loads(line) for line in finished.stdout.splitlines())
    assert [answer["file"] for answer in (first, failed, last)] == [str(file) for file in files]
    assert failed["error"]["kind"] == "unreadable"
    for answer in (first, last):
        assert answer["caption"] and answer["model"]["id"] == str(GOLDEN / "checkpoint")
        assert answer["generation"]["new_tokens"] <= 4 and len(answer["source"]["sha256"]) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captiond.yaml"]


def test_caption_prints_plain_captions_for_people(place: Place) -> None:
    """One file: just its caption.  Several: each behind its name."""
    files, captions = [place.root / "a.jpg", place.root / "b.jpg"], []
    for number, file in enumerate(files):
        data, caption = picture(number)
        file.write_bytes(data)
        captions.append(caption)
    one = captiond("caption", files[0], "-c", place.settings)
    assert (one.returncode, one.stdout) == (0, f"{captions[0]}\n"), one.stderr
    both = captiond("caption", *files, "-c", place.settings)
    assert both.stdout.splitlines() == [
        f"{file}: {caption}" for file, caption in zip(files, captions, strict=True)
    ]


def test_a_file_that_is_not_there_costs_no_model(tmp_path: Path) -> None:
    """Where no file can be read, the model is neither looked for nor loaded; each file has its reason."""
    (tmp_path / "captiond.yaml").write_text("limits:\n  max_file_bytes: 10\n")
    (tmp_path / "large.jpg").write_bytes(bytes(11))
    files: list[str | Path] = ["nothere.jpg", tmp_path, tmp_path / "large.jpg", "a\udce9.jpg"]
    told = captiond("caption", *files, "--model", "nobody/nothing", "-c", tmp_path / "captiond.yaml")
    assert told.returncode == 1 and told.stdout == ""
    assert [line.rpartition(": ")[2] for line in told.stderr.splitlines()] == [
        "No such file or directory", "Is a directory", "11 bytes are more than limits.max_file_bytes (10)",
        "No such file or directory",
    ]  # fmt: skip


def test_files_that_are_not_there_are_told_first(place: Place) -> None:
    """Before the model is loaded people learn which of their files cannot be read; JSON keeps the order."""
    data, caption = picture(1)
    (place.root / "a.jpg").write_bytes(data)
    mixed = captiond("caption", place.root / "a.jpg", "nothere.jpg", "--json", "-c", place.settings)
    first, second = map(json.loads, mixed.stdout.splitlines())
    assert mixed.returncode == 1 and first["caption"] == caption and second["error"]["kind"] == "unreadable"
    wrong = captiond(
        "caption", place.root / "a.jpg", "nothere.jpg", "--model", place.root, "-c", place.settings
    )
    assert wrong.returncode == 75 and wrong.stderr.startswith("nothere.jpg: ")


def test_what_hides_or_turns_text_around_is_shown(place: Place) -> None:
    """Controls of direction, zero-width spaces and escape sequences in a name stand as escapes; joiners and
    ideographic spaces stay, and programs get the very same name."""
    name = "a\u202egpj.\u2066x\u200b\ufeff\x1b[2J\x9b\u2028\U000e0041 \u200d\u200c\u3000.jpg"
    told = captiond("caption", name, "-c", place.settings).stderr
    assert not set(told) & set("\u202e\u2066\u200b\ufeff\x1b\x9b\u2028\U000e0041")
    assert r"a\u202egpj.\u2066x\u200b\ufeff\x1b[2J\x9b\u2028" in told and "\u200d\u200c\u3000.jpg" in told
    as_json = captiond("caption", name, "--json", "-c", place.settings).stdout
    assert not set(as_json) & set("\u202e\u2066\u200b\ufeff\x9b\u2028")
    assert json.loads(as_json)["file"] == name
    assert r"\u202e" in captiond("explain", name, "-c", place.settings).stderr


def test_the_demo_shows_right_texts_and_a_page(tmp_path: Path) -> None:
    """`demo` ends with every text exactly right on the screen, on a page and in the sidecars; it says what
    this model knows and how to use the real one."""
    finished = captiond("demo", tmp_path / "tour")
    assert finished.returncode == 0, finished.stderr
    page = (tmp_path / "tour" / "index.html").read_text(encoding="utf-8")
    samples = write_samples(tmp_path / "again")
    for sample in samples:
        scene = sample.scene
        for text in (scene.caption, scene.alt_text, scene.title, ", ".join(scene.keywords)):
            assert text in finished.stdout and text in page
        name = sample.path.relative_to(tmp_path / "again")
        told = json.loads((tmp_path / "tour" / "done" / f"{name}.caption.json").read_text(encoding="utf-8"))
        assert (told["caption"], told["warnings"]) == (scene.caption, [])
        assert told["fields"] == {
            "alt_text": scene.alt_text,
            "title": scene.title,
            "keywords": list(scene.keywords),
        }
    assert f"{len(samples)} of {len(samples)} pictures have exactly the right texts" in finished.stdout
    assert "drawn shapes only" in finished.stdout and "Phi-3.5-vision" in finished.stdout


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    """A folder with something in it is refused, untouched."""
    (tmp_path / "mine.txt").write_text("precious")
    finished = captiond("demo", tmp_path)
    assert finished.returncode == 2 and "not an empty folder" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_schema_prints_the_published_schema() -> None:
    """`schema` prints a valid JSON Schema, the one that sidecars obey, or that of error records."""
    for arguments, expected in (
        ((), json_schema()),
        (("caption",), json_schema()),
        (("error",), error_schema()),
    ):
        printed = json.loads(captiond("schema", *arguments).stdout)
        jsonschema.Draft202012Validator.check_schema(printed)
        assert printed == expected


def test_a_misspelt_key_is_named_with_its_line_and_neighbour(tmp_path: Path) -> None:
    """Wrong settings exit with 78 and say where the mistake stands and what was probably meant."""
    (tmp_path / "captiond.yaml").write_text("watch:\n  settle_secs: 2\n")
    finished = captiond("run", "-c", tmp_path / "captiond.yaml")
    assert finished.returncode == 78
    for word in ("settle_secs", "line 2", "settle_seconds"):
        assert word in finished.stderr


def test_a_wrong_command_line_exits_with_2() -> None:
    """An unknown option is refused with the nearest known one."""
    finished = captiond("run", "--onec")
    assert finished.returncode == 2 and "--once" in finished.stderr


def test_check_tells_line_by_line_what_is_wrong(tmp_path: Path) -> None:
    """`check` exits 0 where all is well, and else names what is wrong and what to do."""
    place = Place(tmp_path)
    well = captiond("check", "-c", place.settings)
    assert well.returncode == 0 and "WRONG" not in well.stdout, well.stdout
    place.done.rmdir()
    wrong = captiond("check", "-c", place.settings)
    assert wrong.returncode == 75 and str(place.done) in wrong.stdout and "->" in wrong.stdout


def test_retry_puts_failed_images_back(place: Place) -> None:
    """`retry` puts what failed back into the inbox, all or those named, and the next run captions it; a path
    that it does not know makes the exit code 1."""
    mended, caption = picture(1)
    for name in ("one.jpg", "trip/two.jpg"):
        place.drop(b"This was never a picture, whatever its name says.", name)
    assert place.once().returncode == 1
    unknown = captiond("retry", "-c", place.settings, "three.jpg")
    assert unknown.returncode == 1 and "three.jpg" in unknown.stderr
    named = captiond("retry", "-c", place.settings, place.failed / "trip/two.jpg")
    assert named.returncode == 0 and place.left_in_inbox() == ["trip/two.jpg"], named.stderr
    rest = captiond("retry", "-c", place.settings)
    assert rest.returncode == 0 and place.left_in_inbox() == ["one.jpg", "trip/two.jpg"]
    (place.inbox / "one.jpg").write_bytes(mended)
    assert place.once().returncode == 1
    assert place.sidecar("one.jpg")["caption"] == caption
    assert place.error("trip/two.jpg")["attempts"] == 1
    assert not (place.failed / "one.jpg.error.json").exists()


def test_help_does_not_load_the_model_libraries() -> None:
    """`--help` imports neither torch nor transformers nor pydantic, which is why it answers at once."""
    code = (
        "import sys, captiond.cli\n"
        "print([name for name in ('torch', 'transformers', 'pydantic', 'PIL') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_help_says_whole_sentences() -> None:
    """The list of commands is not cut off at the end of its lines."""
    listed = " ".join(captiond("--help").stdout.split())
    for name, command in app.commands.items():
        first = " ".join((command.help or "").split("\n\n")[0].split())
        assert f"{name} {first}" in listed and first.endswith((".", "`"))


def test_the_first_words_come_before_the_slow_imports(tmp_path: Path) -> None:
    """Version, settings and inbox are said first, then that it takes a moment, and only then torch comes."""
    place = Place(tmp_path)
    begun, slow, *rest = [json.loads(line) for line in place.once().stderr.splitlines()]
    assert (begun["version"], begun["settings"]) == (__version__, str(place.settings))
    assert begun["inbox"] == str(place.inbox) and "moment" in slow["event"]
    assert [line["event"] for line in rest][:1] == ["loading the model"]


def on_a_terminal(*arguments: str | Path) -> tuple[int, bytes]:
    """The exit code, and all that a command shows on a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "captiond", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm", COLUMNS="120")
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end was closed, as Linux says it
        pass
    os.close(ours)
    return process.wait(), shown


def test_once_shows_progress_on_a_terminal_and_only_there(tmp_path: Path, server: FakeChatServer) -> None:
    """On a terminal `run --once` shows a bar with count and rate below the log lines; elsewhere none."""
    place = Place(tmp_path, {"log": {"format": "auto"}, "model": server.settings})
    for number in range(12):
        place.drop(picture(number)[0], f"{number}.jpg")
    code, shown = on_a_terminal("run", "--once", "-c", place.settings)
    assert code == 0 and b"12/12" in shown and b"/s" in shown and b"captioned" in shown
    place.drop(b"words", "not-a-picture.txt")
    assert "\x1b[" not in place.once().stderr


def test_the_bar_is_full_when_all_that_can_move_has_moved(tmp_path: Path, server: FakeChatServer) -> None:
    """A file that is not whole is told beside the bar, with the time until it is given up, and not in it."""
    place = Place(tmp_path, {"log": {"format": "auto"}, "model": server.settings})
    data = picture(1)[0]
    place.drop(data, "one.jpg")
    place.drop(data[: len(data) // 2], "half.jpg")
    code, shown = on_a_terminal("run", "--once", "--patience", "3s", "-c", place.settings)
    assert code == 1 and b"1/1" in shown and b"1 not whole (given up in 9:5" in shown
    assert b"0:00 left" not in shown and b"waiting for the rest of a file" in shown
