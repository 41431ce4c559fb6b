"""captiond with engines that nobody here wrote: `make engines`.  What is not there is skipped, and said."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jsonschema
import pytest
from PIL import Image

from daemon_process import Place, Running, captiond
from engines import recording
from engines.servers import CLOSING, ENGINES, KEY, LLAMA_CPP, VLLM, Engine, Server
from interviews import ALL

PICTURES = 30
CONTEXT = 4096
PATIENCE_SECONDS = 300.0
OTHER_FIELDS, FIELD_TOKENS = ("alt_text", "title", "keywords", "visible_text"), 20

pytestmark = [pytest.mark.engines, pytest.mark.timeout(2400), pytest.mark.xdist_group("engines")]


def _jpeg(number: int, side: int = 96) -> bytes:
    gradient = Image.radial_gradient("L").resize((side, side * 3 // 4)).rotate(7 * number)
    buffer = io.BytesIO()
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(buffer, "JPEG")
    return buffer.getvalue()


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = ENGINES[request.param]
    if reason := found.missing():
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def checkpoint(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    engine.make(engine.python, folder)
    return folder


@pytest.fixture(scope="module")
def server(engine: Engine, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(engine, checkpoint, CONTEXT, tmp_path_factory.mktemp("server") / "log")
    one.start()
    try:
        one.await_health()
        yield one
    finally:
        one.kill()


def _place(root: Path, server: Server, *, max_new_tokens: int = 8, **model: Any) -> Place:
    """Where a picture that is charged once for anything is set aside."""
    asked = {
        "backend": "openai",
        "base_url": server.url,
        "id": server.model_id,
        "max_concurrency": 4,
        "max_side": 512,
    }
    return Place(
        root,
        {
            "model": {**asked, **model},
            "caption": {"max_new_tokens": max_new_tokens},
            "limits": {"attempts": 1},
        },
    )


def _delivered(place: Place) -> int:
    return len(list(place.done.glob("*.caption.json")))


def _await(running: Running, condition: Callable[[], object]) -> None:
    """As `Running.until`, for servers that take minutes to start."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, running.log()
        assert running.process.poll() is None, running.log()
        time.sleep(0.1)


def test_thirty_pictures_come_through_a_kill(server: Server, tmp_path: Path) -> None:
    """The server is killed in the middle and started again: all are delivered, none is charged for it."""
    place = _place(tmp_path, server)
    with place.running(CAPTIOND_MODEL__API_KEY=server.key or "") as running:
        for number in range(PICTURES // 2):
            place.drop(_jpeg(number), f"{number:02}.jpg")
        _await(running, lambda: _delivered(place) >= 5)
        server.kill()
        for number in range(PICTURES // 2, PICTURES):
            place.drop(_jpeg(number), f"{number:02}.jpg")
        _await(running, lambda: '"paused"' in running.log())
        server.start()
        server.await_health()
        _await(running, lambda: _delivered(place) >= PICTURES)
    assert place.left_in_inbox() == [] and not list(place.failed.glob("*.json"))
    for number in range(PICTURES):
        record = place.sidecar(f"{number:02}.jpg")
        assert record["model"]["backend"] == "openai" and record["generation"]["prompt_tokens"] > 8
    assert server.key is None or server.key not in running.log()


def _once(place: Place, server: Server) -> tuple[int, str]:
    ended = place.once(CAPTIOND_MODEL__API_KEY=server.key or "")
    return ended.returncode, ended.stdout + ended.stderr


def _checked(place: Place, key: str | None) -> CompletedProcess[str]:
    """`captiond check`, which does not wait for better times as `run` does."""
    return captiond("check", "-c", place.settings, CAPTIOND_MODEL__API_KEY=key or "")


def test_a_model_it_does_not_have(server: Server, tmp_path: Path) -> None:
    """A wrong name is told with what the server has, or the sidecar says which model answered instead."""
    place = _place(tmp_path, server, id="nonsense")
    place.drop(_jpeg(1), "one.jpg")
    if server.engine is LLAMA_CPP:  # it takes any name
        code, said = _once(place, server)
        assert code == 0, said
        model = place.sidecar("one.jpg")["model"]
        assert model["id"] == "nonsense" and model["served_as"].endswith("model.gguf")
        return
    checked = _checked(place, server.key)
    assert checked.returncode != 0, checked.stdout
    assert place.left_in_inbox() == ["one.jpg"]
    if server.engine is VLLM:
        assert f"Set model.id to what the server has: {server.model_id}" in checked.stdout


def test_a_wrong_key_is_told_and_not_shown(server: Server, tmp_path: Path) -> None:
    """The advice names the setting; no picture is touched; the right key works."""
    if server.key is None:
        pytest.skip(f"{server.engine.name} knows no keys")
    place = _place(tmp_path, server)
    place.drop(_jpeg(1), "one.jpg")
    checked = _checked(place, "not-the-key")
    assert checked.returncode != 0 and "401" in checked.stdout and "model.api_key_file" in checked.stdout
    assert "not-the-key" not in checked.stdout + checked.stderr and place.left_in_inbox() == ["one.jpg"]
    code, said = _once(place, server)
    assert code == 0 and place.sidecar("one.jpg")["caption"], said


def test_an_answer_that_reaches_the_limit_is_marked(server: Server, tmp_path: Path) -> None:
    """`max_tokens` reached is told as such, with its tokens counted."""
    place = _place(tmp_path, server, max_new_tokens=4)
    place.drop(_jpeg(1), "one.jpg")
    code, said = _once(place, server)
    assert code == 0, said
    generation = place.sidecar("one.jpg")["generation"]
    assert (generation["finish_reason"], generation["new_tokens"]) == ("length", 4)


def test_more_tokens_than_the_context_holds(server: Server, tmp_path: Path) -> None:
    """A token limit beyond the server's context sets no picture aside."""
    place = _place(tmp_path, server, max_new_tokens=2 * CONTEXT)
    place.drop(_jpeg(1), "one.jpg")
    checked = _checked(place, server.key)
    print(checked.stdout)
    assert not list(place.failed.glob("*.json"))


SCHEMA = {
    "type": "object",
    "properties": {"caption": {"type": "string", "maxLength": 12}, "alt": {"type": "string", "maxLength": 8}},
    "required": ["caption", "alt"],
    "additionalProperties": False,
}


def _obeys(text: str) -> bool:
    try:
        jsonschema.validate(json.loads(text), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


# What each made of a schema, as seen; an answer that is none of these is news.
SEEN = {
    "vLLM": {"obeyed", "cut"},
    "llama.cpp": {"obeyed", "refused", "cut"},
    "transformers serve": {"ignored", "refused"},
}


def test_a_schema_is_judged_by_what_comes_back(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    """A 200 says nothing: what was asked for as `json_schema` is obeyed, cut, ignored or refused."""
    wanted = {"type": "json_schema", "json_schema": {"name": "texts", "schema": SCHEMA, "strict": True}}
    answer = server.ask(_uri(_jpeg(1)), response_format=wanted, max_tokens=300)
    came_of_it = "refused"
    if answer.status_code == 200:
        (choice,) = answer.json()["choices"]
        said = (choice["message"]["content"] or "").lstrip()
        is_cut = said.startswith("{") and choice["finish_reason"] == "length"
        came_of_it = "obeyed" if _obeys(said) else "cut" if is_cut else "ignored"
    record_property(server.engine.name, came_of_it)
    assert came_of_it in SEEN[server.engine.name], answer.text


def _told_by(place: Place, server: Server, ask: str, *, is_short: bool = False) -> dict[str, dict[str, Any]]:
    """The sidecars of some pictures about which all five texts were wanted; none was charged for anything."""
    written = json.loads(place.settings.read_text())
    short = {f"{name}_max_new_tokens": FIELD_TOKENS for name in OTHER_FIELDS if is_short}
    written["caption"]["prompt"] = ALL["caption"]["prompt"]
    written["fields"] = {**ALL["fields"], **short, "ask": ask}
    written["checks"] = {"same_answer_limit": 100}  # a random model may say one thing about all pictures
    place.settings.write_text(json.dumps(written))
    names = [f"{number:02}.jpg" for number in range(4)]
    with place.running(CAPTIOND_MODEL__API_KEY=server.key or "") as running:
        for number, name in enumerate(names):
            place.drop(_jpeg(number), name)
        _await(running, lambda: _delivered(place) + len(list(place.failed.glob("*.json"))) >= len(names))
    assert not list(place.failed.glob("*.json")) and '"paused"' not in running.log(), running.log()
    return {name: place.sidecar(name) for name in names}


def _is_invalid(record: dict[str, Any]) -> bool:
    return any(one["code"] == "invalid_json" for one in record.get("warnings", ()))


def _texts(record: dict[str, Any]) -> Any:
    return record["caption"], record["fields"]


def test_texts_asked_for_at_once_are_those_of_the_questions(
    server: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """These models do not get an object done: each picture has the texts of the separate questions."""
    # One after the other, since how a picture is batched with others may decide a random model's words.
    together, by_itself = (
        _told_by(
            _place(tmp_path / ask, server, max_new_tokens=FIELD_TOKENS, max_concurrency=1),
            server,
            ask,
            is_short=True,
        )
        for ask in ("together", "separately")
    )
    unusable = [name for name, record in together.items() if _is_invalid(record)]
    record_property(server.engine.name, f"{len(unusable)} of {len(together)} followed by the questions")
    assert unusable and not any(map(_is_invalid, by_itself.values()))
    for name in unusable:
        assert _texts(together[name]) == _texts(by_itself[name]), name


@pytest.mark.parametrize("name", CLOSING)
def test_an_object_that_a_server_gets_done_is_taken(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A model that ends what it quotes, held to the schema by a real server: the texts are the object's."""
    engine = CLOSING[name]
    if reason := engine.missing():
        pytest.skip(reason)
    engine.make(engine.python, tmp_path / "tiny")
    server = Server(engine, tmp_path / "tiny", CONTEXT, tmp_path / "log")
    server.start()
    try:
        server.await_health()
        place = _place(tmp_path / "place", server, max_new_tokens=40)
        told = _told_by(place, server, "together")
    finally:
        server.kill()
    done = [record for record in told.values() if not _is_invalid(record)]
    record_property(engine.name, f"{len(done)} of {len(told)} in one answer")
    assert done
    for record in done:
        assert record["generation"]["prompt_tokens"] and record["caption"]


def test_a_small_context_gets_smaller_pictures(tmp_path: Path) -> None:
    """llama.cpp with a context too small for a picture in full: smaller ones are sent, and it is said."""
    if reason := LLAMA_CPP.missing():
        pytest.skip(reason)
    LLAMA_CPP.make(LLAMA_CPP.python, tmp_path / "tiny")
    server = Server(LLAMA_CPP, tmp_path / "tiny", 768, tmp_path / "log")
    server.start()
    try:
        server.await_health()
        place = _place(tmp_path / "place", server, max_side=1024)
        place.drop(_jpeg(1, side=1024), "one.jpg")
        code, said = _once(place, server)
    finally:
        server.kill()
    assert code == 0, said
    assert "the server's context is too small for a picture in full" in said and "model.max_side" in said
    assert place.sidecar("one.jpg")["generation"]["prompt_tokens"] < 768


def test_it_answers_in_the_recorded_shape(server: Server) -> None:
    """What the tests that always run play back is what the server says today."""
    places = {str(server.checkpoint): "/models/tiny", server.key or KEY: "***"}
    answers = {
        "models": server.get("/models"),
        "completion": server.ask(_uri(_jpeg(1)), max_tokens=4),
        "wrong_key": server.ask(_uri(_jpeg(1)), max_tokens=4, key="not-the-key"),
        "wrong_model": server.ask(_uri(_jpeg(1)), max_tokens=4, model="nonsense"),
        "too_long": server.ask(_uri(_jpeg(1)), max_tokens=4, words="word " * 2 * CONTEXT),
    }
    seen = {name: recording.kept(answer, places) for name, answer in answers.items()}
    file = recording.file_of(server.engine.name)
    if os.environ.get("ENGINES_RECORD"):
        file.write_text(json.dumps({"version": server.engine.version(), **seen}, indent=1) + "\n")
    recorded = json.loads(file.read_text())
    for name, answer in seen.items():
        assert recording.shape(answer) == recording.shape(recorded[name]), name
