"""`captiond check`: it finds what is wrong, says what to do, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huggingface_hub import constants

from captiond.commands import check, check_host
from captiond.commands.check import checks
from captiond.commands.check_result import CheckResult
from captiond.delivery.nesting import refuse_nested
from captiond.errors import CannotStart, ExitCode
from captiond.settings import Settings, load
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, answers

FOLDERS = ("inbox", "done", "failed", "state")

Build = Callable[..., Settings]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Settings with four real folders and a server that is not there, so that no torch is loaded."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()

    def build(**overrides: str) -> Settings:
        keys = {f"folders.{name}": name for name in FOLDERS}
        keys |= {
            "model.backend": "openai",
            "model.base_url": "http://127.0.0.1:1/v1",
            "model.id": "fake-vision",
        }
        keys |= {name.replace("__", "."): value for name, value in overrides.items()}
        return load(None, {}, tmp_path, overrides=keys)

    return build


def found(settings: Settings) -> dict[str, CheckResult]:
    return {result.name: result for result in checks(settings)}


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_all_is_well_with_real_folders_and_a_server(build: Build, tmp_path: Path) -> None:
    """With everything in place each check says so, and nothing was left behind."""
    before = tree(tmp_path)
    with FakeChatServer() as server:
        results = found(build(model__base_url=server.url))
    assert {name for name, result in results.items() if result.ok is not True} == set()
    assert set(results) == {
        "settings",
        "clock",
        "folders",
        *(f"folders.{name}" for name in FOLDERS),
        "disk",
        "watcher",
        "exiftool",
        "server",
    }
    assert tree(tmp_path) == before


def test_what_lies_in_the_hidden_folder_stays(build: Build, tmp_path: Path) -> None:
    """A running daemon's own files in `.captiond/` are left alone."""
    (tmp_path / "inbox" / ".captiond").mkdir()
    (tmp_path / "inbox" / ".captiond" / "inbox").write_text("marker")
    assert found(build())["folders.inbox"].ok
    assert tree(tmp_path / "inbox") == {".captiond", ".captiond/inbox"}


def test_a_missing_folder_is_told_and_not_created(build: Build, tmp_path: Path) -> None:
    """75, with the folder's name, and what to do."""
    (tmp_path / "done").rmdir()
    result = found(build())["folders.done"]
    assert (result.ok, result.exit_code) == (False, ExitCode.TRY_AGAIN)
    assert str(tmp_path / "done") in result.message
    assert "Create it" in (result.advice or "")
    assert not (tmp_path / "done").exists()


def test_a_file_in_a_folders_place_is_told(build: Build, tmp_path: Path) -> None:
    """A file called `state` is no folder."""
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("")
    assert "is no folder" in found(build())["folders.state"].message


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that takes no new folders")
def test_a_folder_that_takes_no_files_is_told(build: Build) -> None:
    """Only writing proves that a folder can be written to; /sys refuses even root."""
    result = found(build(folders__state="/sys/kernel"))["folders.state"]
    assert (result.ok, result.exit_code) == (False, ExitCode.TRY_AGAIN)
    assert "cannot be written to" in result.message


def test_a_link_in_place_of_the_hidden_folder_is_not_followed(build: Build, tmp_path: Path) -> None:
    """Who can write to the inbox cannot make us write somewhere else."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "inbox" / ".captiond").symlink_to(tmp_path / "elsewhere")
    assert found(build())["folders.inbox"].ok is False
    assert tree(tmp_path / "elsewhere") == set()


def test_a_nearly_full_disk_is_told(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less space than one allowed file is a warning, next to none keeps the daemon from working."""
    assert found(build(limits__max_file_bytes=str(10**18)))["disk"].ok is None
    monkeypatch.setattr(check, "LEAST_FREE_BYTES", 10**18)
    assert found(build())["disk"].ok is False


def test_more_folders_than_the_kernel_watches_are_told(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the inotify limit the advice is the command that raises it."""
    for number in range(10):
        (tmp_path / "inbox" / str(number)).mkdir()
    limit = tmp_path / "max_user_watches"
    limit.write_text("10\n")
    monkeypatch.setattr(check, "INOTIFY_LIMIT", limit)
    result = found(build())["watcher"]
    assert result.ok is None
    assert "sysctl fs.inotify.max_user_watches=524288" in (result.advice or "")
    assert found(build(watch__method="polling"))["watcher"].message == "polling every 2 s"


def test_a_dead_server_is_told(build: Build) -> None:
    """A server that does not answer now may answer later: 75."""
    result = found(build())["server"]
    assert (result.ok, result.exit_code) == (False, ExitCode.TRY_AGAIN)
    assert "http://127.0.0.1:1/v1 cannot be reached" in result.message


def test_a_webhook_that_nobody_answers_is_a_warning(build: Build) -> None:
    """Pictures are captioned without it; a token that cannot be read keeps the daemon from its start."""
    result = found(build(notify__url="http://127.0.0.1:1/hook"))["notify"]
    assert result.ok is None and "127.0.0.1 cannot be reached" in result.message
    result = found(build(notify__url="http://127.0.0.1:1/hook", notify__token_file="/nowhere/token"))[
        "notify"
    ]
    assert (result.ok, result.exit_code) == (False, ExitCode.WRONG_SETTINGS)


def test_a_missing_key_file_is_told(build: Build) -> None:
    """A key file that is not there is a wrong setting: 78."""
    result = found(build(model__api_key_file="/nowhere/key"))["server"]
    assert (result.ok, result.exit_code) == (False, ExitCode.WRONG_SETTINGS)


def test_torch_is_left_alone_where_a_server_runs_the_model(tmp_path: Path) -> None:
    """A machine that only asks a server needs no torch, not even for `check`."""
    code = """
import sys
from pathlib import Path
from captiond.commands.check import checks
from captiond.settings import load
keys = {"model.backend": "openai", "model.base_url": "http://127.0.0.1:1/v1"}
list(checks(load(None, {}, Path.cwd(), overrides=keys)))
print({"torch", "transformers"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


# ---- the model -----------------------------------------------------------------------------------


def local(build: Build, **model: str) -> CheckResult:
    """What is said of a model on this machine."""
    return check._model(build(model__backend="transformers", model__base_url="null", **model).model)


def test_a_folder_that_holds_no_checkpoint_is_told(build: Build, tmp_path: Path) -> None:
    """78 for a folder that is not there, or that has no config.json."""
    for folder in (tmp_path / "gone", tmp_path / "inbox"):
        model = local(build, model__id=str(folder))
        assert (model.ok, model.exit_code) == (False, ExitCode.WRONG_SETTINGS)
        assert str(folder) in model.message


def test_a_checkpoint_folder_is_found(build: Build, tmp_path: Path) -> None:
    """A local folder with a config.json is a model."""
    (tmp_path / "phi").mkdir()
    (tmp_path / "phi" / "config.json").write_text("{}")
    model = local(build, model__id="./phi")
    assert model.ok


def test_a_hub_model_is_looked_for_in_the_cache_only(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is a warning where it can be downloaded, and 75 where it cannot; nothing is fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    model = local(build, model__id="nobody/nothing", model__revision="v1")
    assert model.ok is None
    assert model.advice == "To have it now: hf download nobody/nothing --revision v1"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = local(build, model__id="nobody/nothing")
    assert (model.ok, model.exit_code) == (False, ExitCode.TRY_AGAIN)


def test_a_hub_model_in_the_cache_is_found(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pinned commit counts, not any other one."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "cache" / "models--some--body" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert local(build, model__id="some/body", model__revision=commit).ok
    assert not local(build, model__id="some/body", model__revision=commit[::-1]).ok


def test_a_name_that_no_hub_model_can_have_is_told(build: Build) -> None:
    """78 for an id that is neither a folder nor a repository's name."""
    model = local(build, model__id="a/b/c")
    assert (model.ok, model.exit_code) == (False, ExitCode.WRONG_SETTINGS)


def test_quantization_without_its_library_is_told(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """int4 on an installation without bitsandbytes is found before the model is loaded."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # Python's own way to say: not installed
    quantization = check._quantization(build(model__quantization="int4").model)
    assert (quantization.ok, quantization.exit_code) == (False, ExitCode.WRONG_SETTINGS)
    assert "captiond[quant]" in (quantization.advice or "")
    ours = check._quantization(build(model__quantization="int8", model__device="cpu").model)
    assert ours.ok is None and "Phi-3.5-vision" in ours.message


def test_the_device_is_the_one_that_torch_sees(build: Build) -> None:
    """cpu is always there; a card that is not is told."""
    settings = build(model__backend="transformers", model__base_url="null", model__device="cpu")
    assert check.device(settings.model).ok
    settings = build(model__backend="transformers", model__base_url="null", model__device="cuda:99")
    result = check.device(settings.model)
    assert result.ok is False
    assert "cuda:99" in result.message


# ---- the machine ---------------------------------------------------------------------------------


def test_a_clock_that_was_never_set_is_told() -> None:
    """A board without a battery wakes up in 1970."""
    assert check.clock(datetime(1970, 1, 1, tzinfo=UTC)).ok is None
    assert check.clock(datetime(2026, 1, 1, tzinfo=UTC)).ok is True


def test_a_cache_that_cannot_hold_the_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a folder, too full, or lost with its container: each with what to do; a good one is no trouble."""
    (tmp_path / "file").write_text("")
    told, advice = check_host.cache_trouble(tmp_path / "file" / "hub", in_container=False) or ("", "")
    assert "cannot be written to" in told and "HF_HOME" in advice
    monkeypatch.setattr(check_host, "ROOM_FOR_A_MODEL_BYTES", 0)
    assert check_host.cache_trouble(tmp_path / "new" / "hub", in_container=False) is None
    monkeypatch.setattr(check_host, "ROOM_FOR_A_MODEL_BYTES", 10**18)
    told, _ = check_host.cache_trouble(tmp_path / "new" / "hub", in_container=False) or ("", "")
    assert "GB are free" in told


@pytest.mark.parametrize(
    ("build", "has_nvidia", "in_container", "advice"),
    [
        (None, True, True, "leave TORCH_INDEX alone"),
        ("12.6", True, False, "too old"),
        ("12.6", False, True, "--gpus all"),
        ("12.6", False, False, "Install the driver"),
    ],
)
def test_why_there_is_no_gpu_is_told(
    build: str | None, has_nvidia: bool, in_container: bool, advice: str
) -> None:
    """A torch without CUDA, an old driver, a container without the card and a bare machine are told apart."""
    _, told = check_host.why_no_gpu(build, has_nvidia=has_nvidia, in_container=in_container)
    assert advice in told


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ["sm_75", "sm_80", "sm_86"], True),
        ((12, 0), ["sm_80", "sm_86", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((9, 0), ["sm_90a", "sm_100"], True),
        ((8, 0), ["sm_86", "compute_86"], False),
    ],
)
def test_a_card_that_torch_was_not_built_for_is_known(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    """A newer or older card than the build knows is told before the first picture meets it."""
    assert check_host.is_built_for(capability, architectures) is runs


def test_a_server_that_does_not_see_is_told(build: Build) -> None:
    """The same answer to a red and to a blue picture is a warning, not a failure."""
    with FakeChatServer() as server:
        server.always = answers("There is no image.")
        result = found(build(model__base_url=server.url))["server"]
    assert result.ok is None
    assert "may not see" in (result.advice or "")


def test_check_speaks_json_too(tmp_path: Path) -> None:
    """`check --json` prints one object for each check, with the same exit code."""
    place = Place(tmp_path, {"model": {"backend": "openai", "base_url": "http://127.0.0.1:1/v1"}})
    told = captiond("check", "--json", "-c", place.settings)
    results = {result["name"]: result for result in map(json.loads, told.stdout.splitlines())}
    assert told.returncode == ExitCode.TRY_AGAIN
    assert results["server"]["result"] == "wrong" and results["server"]["advice"]
    assert results["folders"] == {
        "name": "folders", "result": "ok", "message": "side by side", "advice": None
    }  # fmt: skip


# ---- folders that lie inside one another ---------------------------------------------------------


def nested(**folders: Path) -> str | None:
    try:
        refuse_nested(**folders)
    except CannotStart as refused:
        assert refused.exit_code is ExitCode.WRONG_SETTINGS
        return refused.message
    return None


@pytest.fixture
def four(tmp_path: Path) -> dict[str, Path]:
    return {name: tmp_path / name for name in FOLDERS}


def test_folders_side_by_side_are_fine(four: dict[str, Path]) -> None:
    """Whether they exist or not, and where one name begins like another."""
    assert nested(**four) is None
    for folder in four.values():
        folder.mkdir()
    assert nested(**four) is None
    assert nested(**(four | {"done": four["inbox"].with_name("inbox-done")})) is None


@pytest.mark.parametrize("outer", FOLDERS)
@pytest.mark.parametrize("inner", FOLDERS)
def test_a_folder_inside_another_is_refused(four: dict[str, Path], inner: str, outer: str) -> None:
    """Any of the four in any other, at any depth, before or after they exist."""
    if inner == outer:
        return
    four[inner] = four[outer] / "a" / "b"
    for _ in range(2):
        told = nested(**four)
        assert told is not None
        assert told.startswith(f"folders.{inner} ({four[inner]}) lies inside folders.{outer} ")
        four[inner].mkdir(parents=True, exist_ok=True)


def test_the_same_folder_twice_is_refused(four: dict[str, Path]) -> None:
    """Also by another spelling."""
    told = nested(**(four | {"done": four["inbox"] / ".." / "inbox"}))
    assert told is not None
    assert told.startswith("folders.inbox and folders.done are the same folder")


def test_a_link_hides_nothing(four: dict[str, Path], tmp_path: Path) -> None:
    """A link that leads into the inbox is seen through, and a loop of links is no traceback."""
    (four["inbox"] / "deep").mkdir(parents=True)
    four["done"].symlink_to(four["inbox"] / "deep")
    assert nested(**four) is not None
    four["done"].unlink()
    four["done"].symlink_to(four["done"])
    assert nested(**four) is None


def test_check_tells_of_nested_folders(build: Build) -> None:
    """78: the settings are wrong, whatever the disk says."""
    result = found(build(folders__done="inbox/done"))["folders"]
    assert (result.ok, result.exit_code) == (False, ExitCode.WRONG_SETTINGS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anybody's files")
def test_a_sticky_inbox_is_told(build: Build) -> None:
    """In a folder like /tmp we cannot move what others put there."""
    result = found(build(folders__inbox="/tmp"))["folders.inbox"]
    assert result.ok is None
