"""Settings: what is accepted, where it may come from, and how a mistake is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from captiond.errors import CannotStart, ExitCode
from captiond.service.questions import longest_answer
from captiond.settings import DEFAULT_REVISION, Settings, load, split_address

NOWHERE = Path("/nowhere/captiond.yaml")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    """Writes a ./captiond.yaml and loads it as `captiond` would."""

    def read(text: str | bytes | None = None, /, **environ: str) -> Settings:
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "captiond.yaml").write_bytes(data)
        return load(None, environ, tmp_path, system_file=NOWHERE)

    return read


@pytest.fixture
def refusal(read: Callable[..., Settings]) -> Callable[..., str]:
    """What an operator is told about settings that are wrong."""

    def refusal(text: str | bytes | None = None, /, **environ: str) -> str:
        with pytest.raises(CannotStart) as caught:
            read(text, **environ)
        assert caught.value.exit_code is ExitCode.WRONG_SETTINGS
        return caught.value.message

    return refusal


Read = Callable[..., Settings]
Refusal = Callable[..., str]


# ---- where settings come from --------------------------------------------------------------------


def test_no_file_and_no_environment_give_the_defaults(read: Read) -> None:
    """captiond works without a settings file."""
    assert read() == Settings()
    assert read().source is None


def test_the_first_file_that_is_named_is_read(tmp_path: Path) -> None:
    """-c FILE comes before $CAPTIOND_CONFIG, that before ./captiond.yaml, that before the system's file."""
    places = [tmp_path / name for name in ("named.yaml", "variable.yaml", "captiond.yaml", "system.yaml")]
    for attempts, place in enumerate(places, start=1):
        place.write_text(f"limits: {{attempts: {attempts}}}")

    def attempts_with(path: Path | None, environ: dict[str, str]) -> int:
        return load(path, environ, tmp_path, system_file=places[3]).limits.attempts

    environ = {"CAPTIOND_CONFIG": str(places[1])}
    assert attempts_with(Path("named.yaml"), environ) == 1
    assert attempts_with(None, environ) == 2
    assert attempts_with(None, {"CAPTIOND_CONFIG": ""}) == 3
    places[2].unlink()
    assert attempts_with(None, {}) == 4


def test_a_named_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    """A file that was asked for is never silently replaced by the defaults."""
    with pytest.raises(CannotStart, match=r"settings file .*gone\.yaml cannot be read: No such file"):
        load(Path("gone.yaml"), {}, tmp_path)


def test_the_environment_overrules_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    """The nearer to the operator's fingers, the stronger."""
    file = tmp_path / "captiond.yaml"
    file.write_text("limits: {attempts: 5, max_pixels: 10}\nmodel: {id: a/b}")
    settings = load(
        file,
        {"CAPTIOND_LIMITS__ATTEMPTS": "7", "CAPTIOND_MODEL__ID": "c/d"},
        tmp_path,
        overrides={"model.id": "demo"},
    )
    assert (settings.limits.attempts, settings.limits.max_pixels, settings.model.id) == (7, 10, "demo")


@pytest.mark.parametrize("text", ["", "# nothing\n", "watch:\n", "---\nwatch: ~\n...\n", "\ufefflog: {}\n"])
def test_empty_files_and_sections_are_fine(read: Read, text: str) -> None:
    """Commenting out all keys of a section, or of the file, gives the defaults."""
    assert read(text).watch == Settings().watch


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the daemon runs."""
    with pytest.raises(ValidationError):
        Settings().watch.settle_seconds = 3.0


# ---- values --------------------------------------------------------------------------------------


def test_text_is_taken_as_written(read: Read) -> None:
    """YAML's readings of numbers, dates and booleans do not disturb a key that takes text."""
    settings = read("model: {revision: 0010}\ncaption: {prompt: 2026-01-01}\nlog: {level: error}")
    assert (settings.model.revision, settings.caption.prompt) == ("0010", "2026-01-01")


def test_environment_values_are_read_as_yaml_where_the_key_takes_more_than_text(read: Read) -> None:
    """Numbers, lists, null and true come through the environment; text stays as it is."""
    settings = read(
        CAPTIOND_OUTPUT__METADATA="[exif, xmp]",
        CAPTIOND_OUTPUT__TEXT_SIDECAR="true",
        CAPTIOND_MODEL__KEEP_ALIVE_SECONDS="300",
        CAPTIOND_MODEL__BATCH_SIZE="4",
        CAPTIOND_MODEL__BASE_URL="null",
        CAPTIOND_CAPTION__PROMPT="One word: what is it? [really]",
        CAPTIOND_WATCH__IGNORE='["*.bak", "drafts/*"]',
    )
    assert settings.output.metadata == ("exif", "xmp")
    assert settings.output.text_sidecar is True
    assert (settings.model.keep_alive_seconds, settings.model.batch_size) == (300.0, 4)
    assert settings.model.base_url is None
    assert settings.caption.prompt == "One word: what is it? [really]"
    assert settings.watch.ignore == ("*.bak", "drafts/*")


def test_null_is_taken_where_it_means_something(read: Read) -> None:
    """null, and an empty environment variable as compose files make them, mean `not set`."""
    assert read("model: {keep_alive_seconds: null, base_url: ~}").model.base_url is None
    assert read(CAPTIOND_HTTP__LISTEN="", CAPTIOND_MODEL__API_KEY="").http.listen is None


def test_paths_are_relative_to_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file a path starts from the file's folder, elsewhere from the current one; ~ is the home."""
    monkeypatch.setenv("HOME", "/home/somebody")
    file = tmp_path / "etc" / "captiond.yaml"
    file.parent.mkdir()
    file.write_text("folders: {inbox: in, done: /out, failed: ~/failed}\nmodel: {id: ./phi}")
    settings = load(file, {"CAPTIOND_FOLDERS__STATE": "state"}, tmp_path)
    assert settings.folders.inbox == tmp_path / "etc" / "in"
    assert settings.folders.done == Path("/out")
    assert settings.folders.failed == Path("/home/somebody/failed")
    assert settings.folders.state == tmp_path / "state"
    assert settings.model.id == str(tmp_path / "etc" / "phi")


def test_folder_names_need_not_be_utf8(read: Read, tmp_path: Path) -> None:
    """A folder whose name the kernel knows and Unicode does not can be set by environment."""
    settings = read(CAPTIOND_FOLDERS__INBOX=os.fsdecode(b"/srv/caf\xe9"))
    assert os.fsencode(settings.folders.inbox) == b"/srv/caf\xe9"


def test_the_default_revision_counts_for_the_default_model_only(read: Read) -> None:
    """A copied file whose model id was changed does not ask another model for Phi's commit."""
    assert read("caption: {max_new_tokens: 5}").model.revision == DEFAULT_REVISION
    assert read(f"model: {{id: a/b, revision: {DEFAULT_REVISION}}}").model.revision is None
    assert read("model: {id: a/b}").model.revision is None
    assert read("model: {id: a/b, revision: v2}").model.revision == "v2"
    assert read("model: {revision: null}").model.revision is None


def test_a_servers_model_names_are_left_alone(read: Read) -> None:
    """With an openai server the id is the server's word, even where it looks like a path."""
    model = read("model: {backend: openai, id: ./phi, base_url: 'http://vllm:8000/v1/'}").model
    assert (model.id, model.base_url) == ("./phi", "http://vllm:8000/v1")


# ---- mistakes ------------------------------------------------------------------------------------


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_known_one(refusal: Refusal) -> None:
    """A misspelt key is found at once, never silently ignored."""
    assert refusal("# mine\nwatch:\n  method: auto\n  settle_secs: 2\n") == (
        "unknown key `watch.settle_secs` (captiond.yaml, line 4); did you mean `settle_seconds`?"
    )
    assert "did you mean `caption.prompt`?" in refusal("model: {prompt: What}")
    assert "did you mean `folders.inbox`?" in refusal("inbox: /srv/in")
    assert refusal("zzzzz: 1") == "unknown key `zzzzz` (captiond.yaml, line 1)"


def test_an_unknown_environment_name_is_refused_with_the_nearest(refusal: Refusal) -> None:
    """A misspelt variable is no quieter than a misspelt key."""
    assert refusal(CAPTIOND_MODEL_ID="demo") == (
        "unknown name `CAPTIOND_MODEL_ID` (environment); did you mean `CAPTIOND_MODEL__ID`?"
    )


def test_names_that_a_cluster_sets_are_no_mistakes(read: Read) -> None:
    """A Kubernetes service called captiond does not keep captiond from starting."""
    assert read(
        CAPTIOND_SERVICE_HOST="10.0.0.1",
        CAPTIOND_SERVICE_PORT_HTTP="8000",
        CAPTIOND_PORT="tcp://10.0.0.1:8000",
        CAPTIOND_PORT_8000_TCP_ADDR="10.0.0.1",
    )


WRONG = [
    ("watch: {settle_seconds: 0}", "`watch.settle_seconds` is 0, but must be greater than 0"),
    ("watch: {settle_seconds: .nan}", "must be"),
    ("watch: {poll_interval_seconds: .inf}", "must be"),
    ("watch: {settle_seconds: 700}", "`watch.incomplete_after_seconds` must not be shorter than"),
    ("watch: {ignore: '*.bak'}", "must be a list"),
    ("watch: {method: inotify}", "is 'inotify', but must be auto, native or polling"),
    ("model: {device: gpu}", "must be auto, cpu, mps, cuda"),
    ("model: {device: 'cuda:1\n'}", "must be auto, cpu, mps, cuda"),
    ("model: {batch_size: 0}", "`model.batch_size` is 0, but must be auto or at least 1"),
    ("model: {keep_alive_seconds: soon}", "is 'soon', but must be a number or null"),
    ("model: {backend: openai}", "`model.base_url` must be set for `model.backend: openai`"),
    ("model: {base_url: vllm:8000}", "must be the address of a server"),
    ("model: {base_url: 'http://vllm:800000/v1'}", "must be the address of a server"),
    ("model: {base_url: 'http://[::1/v1'}", "must be the address of a server"),
    ("model: {base_url: 'http://my server/v1'}", "must be the address of a server"),
    ("model: {id: ''}", "`model.id` is '', but must not be empty"),
    ("caption: {prompt: null}", "`caption.prompt` must be text"),
    ("output: {metadata: [exif, png]}", "`output.metadata` must be auto or exif, xmp or iptc"),
    ("output: {text_sidecar: 1}", "is 1, but must be true or false"),
    ("output: {approve: true}", "`output.approve` is true, but must be false, unsure or all"),
    ("output: {approve: some}", "`output.approve` is 'some', but must be false, unsure or all"),
    ("limits: {attempts: true}", "is true, but must be a whole number"),
    ("limits: {attempts: 1.5}", "must be a whole number"),
    ("http: {listen: 8000}", "must be an address and a port, e.g. 127.0.0.1:8000"),
    ("notify: {url: example.org/hook}", "must be the address of a server, e.g. https://example.org/hook"),
    ("notify: {url: 'ftp://example.org/'}", "must be the address of a server"),
    ("notify: {url: 'https://example.org/#here'}", "must be the address of a server"),
    ("notify: {timeout_seconds: 0}", "must be greater than 0"),
    ("folders: {inbox: ''}", "must be a path"),
    ("folders: {inbox: [a]}", "must be a path"),
    ("folders: /srv", "`folders` must hold keys such as `inbox: ...`"),
    ("- folders", "the settings must be `section:`"),
    ("log: {level: info\n", "this is not YAML"),
    ("log:\n\tlevel: info\n", "this is not YAML"),
    ("model: {id: !!python/name:os.system x}", "this is not YAML: could not determine a constructor"),
    ("log: {level: info}\n---\nlog: {}", "this is not YAML: but found another document"),
    ("log: {level: \x07}", "control character"),
    ("a: &a [*a]", "unknown key `a`"),
    ("watch: {ignore: &a [*a]}", "`watch.ignore` must be text"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_wrong_value_is_told_with_its_line_and_what_is_allowed(
    refusal: Refusal, text: str, told: str
) -> None:
    """Every refusal names the file and says what would be right."""
    message = refusal(text)
    assert told in message
    assert "captiond.yaml" in message


def test_a_key_that_stands_twice_is_refused_with_both_lines(refusal: Refusal) -> None:
    """YAML would silently take the last one."""
    message = refusal("limits:\n  attempts: 3\n  max_pixels: 9\n  attempts: 4\n")
    assert message == "`limits.attempts` stands twice (captiond.yaml, lines 2 and 4)"
    assert "`watch` stands twice" in refusal("watch: {}\nwatch: {}")


def test_all_mistakes_are_told_at_once(refusal: Refusal) -> None:
    """An operator with three mistakes starts the daemon twice, not four times."""
    message = refusal("watch: {metod: auto}\nlimits: {attempts: 0}", CAPTIOND_LOG__LEVEL="INFO")
    assert len(message.splitlines()) == 3


def test_a_file_that_is_not_utf8_is_told_with_its_line(refusal: Refusal) -> None:
    """Latin-1 in a comment is found, not guessed at."""
    assert refusal(b"log: {}\n# caf\xe9\n") == "the settings file is not UTF-8 (captiond.yaml, line 2)"


def test_an_environment_value_that_is_wrong_is_told_by_its_variable(refusal: Refusal) -> None:
    """Who set a variable is told about the variable."""
    assert refusal(CAPTIOND_LIMITS__ATTEMPTS="many") == (
        "`CAPTIOND_LIMITS__ATTEMPTS` is 'many', but must be a whole number (environment)"
    )
    assert "CAPTIOND_WATCH__IGNORE" in refusal(CAPTIOND_WATCH__IGNORE="[*.bak]")


# ---- the key -------------------------------------------------------------------------------------


def test_the_key_is_never_shown(read: Read, refusal: Refusal, tmp_path: Path) -> None:
    """Neither settings nor refusals print an API key, and a file of settings may not hold one."""
    settings = read(CAPTIOND_MODEL__API_KEY="s3cret")
    key = settings.model.read_api_key()
    assert key is not None
    assert key.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "s3cret" not in refusal(CAPTIOND_MODEL__API_KEY="s3cret\nHost: x")
    assert "s3cret" not in refusal("model: {base_url: 'http://me:s3cret@vllm/v1'}")
    assert "did you mean `api_key_file`?" in refusal("model: {api_key: s3cret}")
    assert "s3cret" not in refusal("notify: {url: 'https://me:s3cret@example.org/'}")
    assert "s3cret" not in refusal("notify: {url: 'example.org/?key=s3cret'}")
    assert "s3cret" not in refusal(CAPTIOND_NOTIFY__TOKEN="s3cret\nHost: x")
    assert "did you mean `token_file`?" in refusal("notify: {token: s3cret}")


def test_the_key_file_is_read_when_the_key_is_needed(read: Read, tmp_path: Path) -> None:
    """`captiond status` works for people who may not read the key; a bad key file is a clear refusal."""
    model = read("model: {api_key_file: key}").model
    with pytest.raises(CannotStart, match=r"model\.api_key_file.*No such file"):
        model.read_api_key()
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "key").chmod(0o640)
    key = model.read_api_key()
    assert key is not None
    assert key.get_secret_value() == "s3cret"
    (tmp_path / "key").write_text("two\nlines\n")
    with pytest.raises(CannotStart, match="one key on one line"):
        model.read_api_key()


SECRETS: tuple[tuple[str, Callable[[Settings], object]], ...] = (
    ("model: {api_key_file: secret}", lambda settings: settings.model.read_api_key()),
    ("http: {token_file: secret}", lambda settings: settings.http.read_token()),
    ("notify: {token_file: secret}", lambda settings: settings.notify.read_token()),
)


@pytest.mark.parametrize(("text", "secret_of"), SECRETS)
def test_a_secret_that_everybody_can_read_is_none(
    read: Read,
    tmp_path: Path,
    text: str,
    secret_of: Callable[[Settings], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or that everybody can write; the group may read it, and what systemd hands out is for us alone."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "secret").write_text("0123456789abcdef\n")
    (tmp_path / "secret").symlink_to(folder / "secret")
    settings = read(text)
    for mode in (0o644, 0o604, 0o602, 0o666, 0o444):
        (folder / "secret").chmod(mode)
        with pytest.raises(CannotStart, match=r"everybody on this machine: chmod o-rw .*secret"):
            secret_of(settings)
    for mode in (0o640, 0o600, 0o400):
        (folder / "secret").chmod(mode)
        assert secret_of(settings) is not None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (folder / "secret").chmod(0o444)
    assert secret_of(settings) is not None


def test_the_webhooks_token_comes_from_a_file_or_the_environment(read: Read, tmp_path: Path) -> None:
    """And the address may hold a query, since some services put their keys there."""
    notify = read("notify: {url: 'https://example.org/hook?room=1', token_file: token}").notify
    assert notify.url == "https://example.org/hook?room=1"
    with pytest.raises(CannotStart, match=r"notify\.token_file.*No such file"):
        notify.read_token()
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "token").chmod(0o600)
    for token in (notify.read_token(), read(CAPTIOND_NOTIFY__TOKEN="s3cret").notify.read_token()):
        assert token is not None and token.get_secret_value() == "s3cret"
    (tmp_path / "token").write_text("two words")
    with pytest.raises(CannotStart, match="one token on one line"):
        notify.read_token()


# ---- promises for any input ----------------------------------------------------------------------


@given(st.text(max_size=60) | st.sampled_from([text for text, _ in WRONG]))
@example("? [a]\n: b")
@example("<<: {watch: {}}")
@example("1: 2")
@example('watch: {"settle\\nseconds": 1}')
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No settings file, whatever it holds, ends in a traceback."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        settings = load(file, {}, file.parent)
    except CannotStart as refused:
        assert refused.exit_code is ExitCode.WRONG_SETTINGS
    else:
        assert settings.source == file


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:8000", ("127.0.0.1", 8000)), ("[::1]:80", ("::1", 80)), ("localhost:0", ("localhost", 0))],
)
def test_addresses_are_split(text: str, address: tuple[str, int]) -> None:
    """An address and a port, also where the address is IPv6."""
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["8000", ":8000", "::1:80", "a:70000", "a:-1", "a b:80", "http://a:80", ""])
def test_half_addresses_are_refused(text: str) -> None:
    """A port alone would listen to the world; it has to be said."""
    with pytest.raises(ValueError, match="must be an address and a port"):
        split_address(text)


def test_settings_import_quickly() -> None:
    """Reading settings loads neither torch nor an HTTP client, so that the command line answers at once."""
    code = (
        "import sys, captiond.settings; print({'torch', 'httpx', 'transformers', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_all_blocks_of_metadata_are_available(tmp_path: Path) -> None:
    """EXIF, XMP and IPTC may be asked for together."""
    settings = load(
        None, {"CAPTIOND_OUTPUT__METADATA": "[exif, xmp, iptc]"}, tmp_path, system_file=tmp_path / "none"
    )
    assert settings.output.metadata == ("exif", "xmp", "iptc")


def test_a_card_has_room_for_the_longest_answer_that_is_asked_for(read: Callable[..., Settings]) -> None:
    """Batches are sized for it: a caption's limit, another text's, or a profile's, whichever is most."""
    for text, longest in (
        ("{}", 160),
        ("fields: {wanted: [caption, visible_text]}", 816),
        ("fields: {wanted: [caption, visible_text], visible_text_max_new_tokens: 50}", 160),
        ("profiles: [{match: a/**, caption: {max_new_tokens: 999}}]", 999),
    ):
        settings = read(text)
        assert longest_answer((settings, *settings.profiles)) == longest
