"""What we hand to systemd, Docker and pip is what the program and its settings need."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from captiond.cli import app
from captiond.errors import ExitCode
from captiond.settings import SYSTEM_FILE, Settings, load

ROOT = Path(__file__).parent.parent
SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "captiond.service"
CAP_LEASE = 1 << 28
OLDEST_COMPOSE = (2, 24)  # `env_file` with `required`
ENTRYPOINT = ROOT / "config" / "docker-entrypoint.sh"


def lines_of(file: Path) -> list[str]:
    """The lines that are no comments, continued ones joined."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def unit_section(name: str, unit: Path = UNIT) -> dict[str, list[str]]:
    """A section of the unit: each key with all that is assigned to it."""
    section: dict[str, list[str]] = {}
    inside = False
    for line in lines_of(unit):
        if line.startswith("["):
            inside = line == f"[{name}]"
        elif inside:
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return section


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """The stages of the Dockerfile by name: what each begins with, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for line in lines_of(ROOT / "Dockerfile"):
        keyword, _, arguments = line.partition(" ")
        if keyword == "FROM":
            begins_with, _, name = arguments.partition(" AS ")
            found[name] = (begins_with, [])
        else:
            found[name][1].append((keyword, arguments.strip()))
    return found


def instructions(name: str, image: str = "") -> list[str]:
    """The arguments of each such instruction of an image; the last stage is what is built by itself."""
    by_name = stages()
    begins_with, own = by_name[image or list(by_name)[-1]]
    before = instructions(name, begins_with) if begins_with in by_name else []
    return [*before, *(arguments for keyword, arguments in own if keyword == name)]


def image_environment() -> dict[str, str]:
    pairs = [pair.partition("=") for line in instructions("ENV") for pair in shlex.split(line)]
    return {key: value for key, _, value in pairs}


def copied_files() -> list[str]:
    """What any stage of the Dockerfile takes from the checkout."""
    sources: list[str] = []
    for line in lines_of(ROOT / "Dockerfile"):
        keyword, _, arguments = line.partition(" ")
        if keyword == "COPY":
            sources += shlex.split(arguments)[:-1]
        for mount in re.findall(r"--mount=type=bind,(\S+)", line):
            options = dict(option.split("=", 1) for option in mount.split(","))
            if "from" not in options:
                sources.append(options["source"])
    return sources


@pytest.fixture(scope="module")
def service() -> dict[str, list[str]]:
    return unit_section("Service")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service: dict[str, Any] = parsed["services"]["captiond"]
    return service | {"volume_names": set(parsed["volumes"])}


# ---- systemd -------------------------------------------------------------------------------------


@pytest.fixture
def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    return program


def test_systemd_understands_every_line_of_the_unit(systemd_analyze: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the unit, once its program exists."""
    program = tmp_path / "captiond"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/captiond/bin/captiond", str(program)))
    verified = subprocess.run(
        [systemd_analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    # It also tells of the other units of the machine that it loads on the way.
    assert [line for line in verified.stderr.splitlines() if UNIT.name in line or str(tmp_path) in line] == []


def test_the_service_stays_hardened(systemd_analyze: str) -> None:
    """`systemd-analyze security` finds an exposure of 1.5 or less, of 10."""
    judged = subprocess.run(
        [systemd_analyze, "security", "--offline=true", "--no-pager", "--threshold=15", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unrecognized option" in judged.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert judged.returncode == 0, judged.stdout[-200:] + judged.stderr


def test_the_hardening_leaves_the_gpu_usable(service: dict[str, list[str]]) -> None:
    """PyTorch may run the code that it writes, and NVIDIA's devices are let in."""
    assert service["MemoryDenyWriteExecute"] == ["no"]
    assert service["PrivateDevices"] == ["no"]
    assert "char-nvidia* rw" in service["DeviceAllow"]


def test_the_service_lets_decoders_be_confined_and_die(service: dict[str, list[str]]) -> None:
    """Landlock's calls are let through, and one decoder that the kernel takes does not stop the daemon."""
    assert {f"landlock_{act}" for act in ("create_ruleset", "add_rule", "restrict_self")} <= {
        call for line in service["SystemCallFilter"] for call in line.split()
    }
    assert service["OOMPolicy"] == ["continue"]
    assert service["MemoryMax"][0].endswith("%") and service["TasksMax"] and service["LimitNOFILE"]


def test_a_newer_systemd_waits_for_a_reload() -> None:
    """The drop-in changes the type and takes the kill away: systemd sends the signal by itself, once."""
    drop_in = unit_section("Service", SYSTEMD / "notify-reload.conf")
    assert drop_in == {"Type": ["notify-reload"], "ExecReload": [""]}


def test_the_service_does_not_try_again_what_trying_cannot_mend(service: dict[str, list[str]]) -> None:
    """Wrong settings and a wrong command line are not retried; all else is, for as long as it takes."""
    given_up = {int(status) for status in service["RestartPreventExitStatus"][0].split()}
    assert given_up == {ExitCode.WRONG_SETTINGS, ExitCode.USAGE}
    assert service["Restart"] == ["on-failure"]
    assert unit_section("Unit")["StartLimitIntervalSec"] == ["0"]


def test_the_service_may_take_its_time(service: dict[str, list[str]]) -> None:
    """A first start may download a model; a stop may finish a batch, and is asked for by SIGTERM."""
    assert service["Type"] == ["notify"]
    assert service["TimeoutStartSec"] == ["infinity"]
    assert int(service["TimeoutStopSec"][0]) >= 60
    assert service["KillSignal"] == ["SIGTERM"]


def test_the_service_may_write_the_folders_of_the_settings(service: dict[str, list[str]]) -> None:
    """The default folders lie beneath one writable path, so that files can be renamed between them."""
    (writable,) = (path.removeprefix("-") for path in service["ReadWritePaths"][0].split())
    for folder in Settings().folders.model_dump().values():
        assert folder.is_relative_to(writable)


def test_the_service_has_a_home_for_its_models(service: dict[str, list[str]]) -> None:
    """The models are kept in the unit's cache folder, and the user's home is its state folder."""
    environment = dict(pair.split("=", 1) for pair in service["Environment"])
    assert Path(environment["HF_HOME"]).is_relative_to(Path("/var/cache", service["CacheDirectory"][0]))
    home = Path("/var/lib", service["StateDirectory"][0])
    assert lines_of(SYSTEMD / "captiond.sysusers") == [
        f'u {service["User"][0]} - "Caption daemon" {home}',
    ]


def test_tmpfiles_makes_every_folder_of_the_settings(service: dict[str, list[str]]) -> None:
    """After installing, the four default folders exist and belong to the service's user."""
    made = {}
    for kind, path, _mode, *owner in map(shlex.split, lines_of(SYSTEMD / "captiond.tmpfiles")):
        if kind == "d":
            made[Path(path)] = owner[:2]
    wanted = [*service["User"], *service["Group"]]
    for folder in Settings().folders.model_dump().values():
        assert made[folder] == wanted
        assert made[folder.parent] == wanted


# ---- commands ------------------------------------------------------------------------------------


def command_lines() -> Iterator[list[str]]:
    """How the program is called by systemd and by Docker, without the program's own name."""
    program, *arguments = shlex.split(unit_section("Service")["ExecStart"][0])
    assert PurePosixPath(program).name == "captiond"
    yield arguments
    yield json.loads(instructions("CMD")[0])
    shown = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for arguments_shown in re.findall(r"^#   docker run .*? captiond (.+)$", shown, re.MULTILINE):
        yield shlex.split(arguments_shown)


def test_every_command_that_is_called_exists() -> None:
    """The command line accepts what the unit, the image and their comments call."""
    lines = list(command_lines())
    assert len(lines) == 3
    for name, *arguments in lines:
        command = app.commands[name]
        command.make_context(name, arguments)  # refuses unknown options


def test_the_unit_reads_the_settings_that_the_program_would_find() -> None:
    """The unit names the settings file that every other command finds by itself."""
    arguments = shlex.split(unit_section("Service")["ExecStart"][0])
    assert arguments[arguments.index("-c") + 1] == str(SYSTEM_FILE)


def test_every_setting_that_is_named_exists() -> None:
    """Each CAPTIOND_ name in the unit, the Dockerfile and the compose file is one that is accepted."""
    for file in (UNIT, ROOT / "Dockerfile", ROOT / "docker-compose.yml"):
        text = file.read_text(encoding="utf-8")
        named = dict(re.findall(r"(CAPTIOND_[A-Z_]+)\s*[=:]\s*(\S+)", text))
        assert set(re.findall(r"CAPTIOND_\w+", text)) <= set(named), file.name
        load(None, named, ROOT / "systemd", system_file=Path("/nonexistent"))


# ---- the image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["local", "remote"])
def test_the_image_is_run_by_nobody_special(image: str) -> None:
    """The last USER is a number other than 0, so that orchestrators can see that it is not root."""
    user = instructions("USER", image)[-1].partition(":")[0]
    assert user.isdecimal()
    assert int(user) > 0


def test_the_image_hears_its_signals() -> None:
    """The program is called without a shell in between that would keep the stop signal to itself."""
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["captiond-container"]
    assert f"config/{ENTRYPOINT.name} /usr/local/bin/captiond-container" in instructions("COPY")
    assert ENTRYPOINT.stat().st_mode & 0o111 == 0o111
    assert ENTRYPOINT.read_text(encoding="utf-8").splitlines()[-1] == 'exec captiond "$@"'
    assert json.loads(instructions("CMD")[0]) == ["run"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_says_whether_it_is_well() -> None:
    """An engine that asks for health gets the daemon's own answer."""
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["captiond", "health"]')


def test_the_image_has_the_settings_where_the_program_looks() -> None:
    """config/docker.yaml lies where the program finds it without being told."""
    assert f"config/docker.yaml {SYSTEM_FILE}" in instructions("COPY")


def test_the_image_writes_into_volumes_alone() -> None:
    """Folders, model cache and home lie on volumes, so that the rest of the image may be read-only."""
    volumes = json.loads(instructions("VOLUME")[0])
    environment = image_environment()
    folders = load(ROOT / "config" / "docker.yaml", {}, Path("/")).folders.model_dump().values()
    for written in (*folders, environment["HOME"], environment["HF_HOME"]):
        assert any(Path(written).is_relative_to(volume) for volume in volumes), written
    made = {word for line in instructions("RUN") for word in shlex.split(line)}
    assert {str(folder) for folder in folders} <= made


def test_a_builder_that_is_too_old_says_so_at_once() -> None:
    """The first act of each image is a mount, which the builder before BuildKit refuses in words; no heredoc,
    which Docker 20.10 lacks."""
    for image in ("local", "remote"):
        assert instructions("RUN", image)[0].startswith("--mount=")
    assert "<<" not in "".join(lines_of(ROOT / "Dockerfile"))


@pytest.mark.long
def test_buildah_begins_the_image(tmp_path: Path) -> None:
    """Another builder than Docker's understands the file, up to the list of what is to be installed."""
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed")
    command = ["buildah", "bud", "--isolation", "chroot", "--target", "requirements", "--iidfile"]
    ended = subprocess.run(
        [*command, str(tmp_path / "image"), str(ROOT)], capture_output=True, text=True, check=False
    )
    if "creating build container" in ended.stderr:
        pytest.skip(f"the base image cannot be had here: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    subprocess.run(["buildah", "rmi", (tmp_path / "image").read_text()], capture_output=True, check=False)


def test_the_image_for_servers_has_no_torch() -> None:
    """`--target remote` installs the lock of that name alone."""
    installs = [line for line in instructions("RUN", "remote") if "pip install" in line]
    assert "/tmp/requirements.lock" in installs[0] and "--no-deps" in installs[1]


def test_the_image_is_made_of_files_that_reach_the_builder() -> None:
    """Everything the Dockerfile copies exists and is let through by .dockerignore, which hides all else."""
    ignored, *exceptions = lines_of(ROOT / ".dockerignore")
    assert ignored == "*"
    let_through = {line.removeprefix("!") for line in exceptions if line.startswith("!")}
    for source in copied_files():
        assert (ROOT / source).exists(), source
        assert source in let_through, source
    assert let_through == set(copied_files())


# ---- the image's entrypoint ----------------------------------------------------------------------


@pytest.fixture
def programs() -> Iterator[Path]:
    """A folder on the PATH that any user may enter, which pytest's own are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "captiond"
        program.write_text('#!/bin/sh\necho "$(id -u):$(id -g)/$(id -G) $$ $*"\n')
        program.chmod(0o755)
        yield Path(folder)


@pytest.fixture
def enter(programs: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The entrypoint as the image calls it, with a captiond that tells who it is."""

    def enter(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{programs}:{os.environ['PATH']}"
        return subprocess.run(
            [ENTRYPOINT, *arguments], env={"PATH": path, **environ}, capture_output=True, text=True
        )

    return enter


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_user_whose_pictures_they_are(
    enter: Callable[..., subprocess.CompletedProcess[str]], programs: Path
) -> None:
    """PUID and PGID are obeyed, 1000:1000 is the default, no other group is kept, no file is touched."""
    before = {path: path.stat().st_uid for path in programs.rglob("*")}
    assert enter("run", "--once", PUID="99", PGID="100").stdout.startswith("99:100/100 ")
    assert enter("run", "--once").stdout.startswith("1000:1000/1000 ")
    assert enter("run", "--once").stdout.endswith(" run --once\n")
    assert before == {path: path.stat().st_uid for path in programs.rglob("*")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_of_roots_powers_one_is_kept(programs: Path, enter: Callable[..., Any]) -> None:
    """LEASE, which tells who writes other users' files, is kept where the container has it, and no other."""
    (programs / "captiond").write_text("#!/bin/sh\nsed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status\n")
    told = enter("run")
    assert told.returncode == 0, told.stderr
    if int(_own_capabilities(), 16) & CAP_LEASE:
        assert int(told.stdout, 16) == CAP_LEASE
    path = f"{programs}:{os.environ['PATH']}"
    without = ["setpriv", "--bounding-set=-lease", "--inh-caps=-lease", "sh", str(ENTRYPOINT), "run"]
    told = subprocess.run(without, env={"PATH": path}, capture_output=True, text=True)
    assert (told.returncode, int(told.stdout, 16)) == (0, 0), told.stderr


def _own_capabilities() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return status.partition("CapEff:")[2].split()[0]


def test_the_program_takes_the_place_of_the_entrypoint(enter: Callable[..., Any], programs: Path) -> None:
    """The process that Docker started is captiond in the end, and hears the stop signal itself."""
    started = subprocess.Popen(
        [ENTRYPOINT, "run"],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = started.communicate()
    assert said.split()[-2] == str(started.pid)


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv")
def test_a_user_that_cannot_be_had_is_told(programs: Path, enter: Callable[..., Any]) -> None:
    """PUID without root would be a wish that nobody grants: exit code 78, with what to type."""
    told = subprocess.run(
        ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-s", "run"],
        input=ENTRYPOINT.read_text(encoding="utf-8"),
        env={"PATH": f"{programs}:{os.environ['PATH']}", "PUID": "99"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == ExitCode.WRONG_SETTINGS
    assert "--user 99:1000" in told.stderr


def test_shellcheck_has_nothing_to_say() -> None:
    """The entrypoint is plain sh."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    checked = subprocess.run([program, ENTRYPOINT], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


# ---- compose -------------------------------------------------------------------------------------


def test_compose_understands_its_file() -> None:
    """Compose itself reads the file and finds nothing wrong, with each of its profiles."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        asked = [*command, "version", "--short"]
        version = subprocess.run(asked, capture_output=True, text=True, check=False)
        found = re.match(r"v?(\d+)\.(\d+)", version.stdout)
        if found is not None and (int(found[1]), int(found[2])) >= OLDEST_COMPOSE:
            break
    else:
        pytest.skip("no Compose of 2.24 or later is installed")
    for profiles in ("", "vllm"):
        ended = subprocess.run(
            [*command, "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
            env={**os.environ, "COMPOSE_PROFILES": profiles},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def test_compose_mounts_what_the_image_writes(compose: dict[str, Any]) -> None:
    """Every volume of the image is named in the compose file, so that none is lost with its container."""
    mounted = {volume["target"]: volume for volume in compose["volumes"]}
    assert set(mounted) == set(json.loads(instructions("VOLUME")[0]))
    assert mounted["/data"]["source"] == "./data"
    assert mounted["/cache"]["source"] in compose["volume_names"]
    assert compose["read_only"] is True
    assert compose["tmpfs"] == ["/tmp"]


def test_compose_brings_vllm_on_request_only() -> None:
    """The profile `vllm` starts a server on all cards; what is to be typed points captiond at that server."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    vllm = yaml.safe_load(text)["services"]["vllm"]
    assert vllm["profiles"] == ["vllm"]
    (cards,) = vllm["deploy"]["resources"]["reservations"]["devices"]
    assert (cards["driver"], cards["count"]) == ("nvidia", "all")
    served = load(None, dict(re.findall(r"(CAPTIOND_[A-Z_]+)=(\S+)", text)), ROOT).model
    assert (served.backend, served.base_url) == ("openai", "http://vllm:8000/v1")
    assert f"--model={served.id}" in vllm["command"]
    assert f"--revision={served.revision}" in vllm["command"]


def test_compose_says_which_folders_to_make(compose: dict[str, Any]) -> None:
    """Its first line to type makes exactly the folders that the container's settings name."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    (typed,) = re.findall(r"mkdir -p (.+)", text)
    (data,) = (volume for volume in compose["volumes"] if volume["target"] == "/data")
    made = {Path(data["target"], Path(folder).relative_to(Path(data["source"]))) for folder in typed.split()}
    assert made == set(load(ROOT / "config" / "docker.yaml", {}, Path("/")).folders.model_dump().values())


def test_compose_lets_work_be_finished(compose: dict[str, Any]) -> None:
    """Docker waits as long for a stop as systemd does, not its usual ten seconds."""
    minutes = re.fullmatch(r"(\d+)m", compose["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 == int(unit_section("Service")["TimeoutStopSec"][0])


def test_compose_hands_over_a_gpu_and_no_privileges(compose: dict[str, Any]) -> None:
    """One NVIDIA card is reserved; root and its rights are not."""
    (card,) = compose["deploy"]["resources"]["reservations"]["devices"]
    assert card == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert compose["user"] == "${UID:-1000}:${GID:-1000}"
    assert compose["cap_drop"] == ["ALL"]
    assert compose["cap_add"] == ["LEASE"]  # counts for a container that is started as root, with PUID
    assert compose["security_opt"] == ["no-new-privileges:true"]


# ---- the wheel -----------------------------------------------------------------------------------


def _setuptools_version() -> int:
    try:
        return int(metadata.version("setuptools").partition(".")[0])
    except metadata.PackageNotFoundError:
        return 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from nothing but what the Dockerfile copies."""
    sources = tmp_path_factory.mktemp("sources")
    rubbish = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in copied_files():
        target = sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=rubbish)
        else:
            shutil.copy(ROOT / name, target)
    made = tmp_path_factory.mktemp("wheel")
    if _setuptools_version() >= 77:  # as pip would do it, in a third of the time
        build = ["-c", "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])", str(made)]
    else:
        build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(made), "."]
    built = subprocess.run([sys.executable, *build], cwd=sources, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stdout[-1000:] + built.stderr[-1000:]
    (file,) = made.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


def test_the_wheel_holds_the_whole_package(wheel: zipfile.ZipFile) -> None:
    """Every module, the typing marker and the demo's checkpoint are installed."""
    package = ROOT / "daemon" / "captiond"
    wanted = [*package.rglob("*.py"), package / "py.typed"]
    wanted += [file for file in (package / "demo" / "checkpoint").glob("*") if file.is_file()]
    wanted += [file for file in (package / "files").glob("*") if file.is_file()]
    names = {file.relative_to(package.parent).as_posix() for file in wanted}
    assert names <= set(wheel.namelist())


def test_the_wheel_brings_the_files_for_a_service(wheel: zipfile.ZipFile) -> None:
    """Settings and unit of the checkout are in it, to the letter: links lead to them."""
    for source in (ROOT / "config" / "captiond.yaml", *SYSTEMD.iterdir()):
        linked = ROOT / "daemon" / "captiond" / "files" / source.name
        assert linked.is_symlink() and linked.resolve() == source
        assert wheel.read(f"captiond/files/{source.name}") == source.read_bytes()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No tests, no training scripts, no settings: only the package and what pip must know of it."""
    tops = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"captiond"}
    assert not [name for name in wheel.namelist() if "/test" in name or name.endswith(".pyc")]


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    """Installing the wheel puts `captiond` on the path, and the licence beside it."""
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    scripts = ConfigParser()
    scripts.read_string(wheel.read(entry_points).decode())
    assert dict(scripts["console_scripts"]) == {"captiond": "captiond.cli:main"}
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())
