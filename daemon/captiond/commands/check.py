"""What `captiond check` looks at before a daemon is started: one result for each thing that can be wrong.

It leaves everything as it was, downloads nothing and creates no folder; `check_folders` says what little it
writes.  Torch is loaded only if it would run the model.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from captiond import exiftool
from captiond.commands import check_folders, check_formats, check_host
from captiond.commands.check_result import CheckResult, size, wrong
from captiond.errors import CannotStart, ExitCode, Verdict
from captiond.inbox import mounts
from captiond.settings import Settings
from captiond.settings.schema import Model, Notify, Watch
from captiond.support.cores import cores

LEAST_FREE_BYTES = 100_000_000
LEAST_FREE_INODES = 1_000
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")


def checks(settings: Settings) -> Iterator[CheckResult]:
    """Every check that these settings call for, the cheap ones first."""
    yield _settings(settings)
    yield clock(datetime.now(UTC))
    yield check_folders.nesting(settings.folders, settings.libraries)
    for name, folder in check_folders.named(settings.folders):
        yield check_folders.folder(name, folder)
    yield from map(check_folders.library, settings.libraries)
    yield from _disks(settings)
    yield _watcher(settings.watch, settings.folders.inbox)
    if (unserved := check_formats.unserved_in(settings)) is not None:
        yield unserved
    if settings.notify.url is not None:
        yield _webhook(settings.notify)
    blocks = settings.output.metadata
    if settings.output.exiftool == "auto" and (blocks == "auto" or "exif" in blocks):
        yield _exiftool()
    if settings.model.backend == "openai":
        yield _server(settings.model)
    else:
        yield _model(settings.model)
        if settings.model.quantization != "none":
            yield _quantization(settings.model)
        yield device(settings.model)


def _webhook(notify: Notify) -> CheckResult:
    """False only if the token cannot be read: an unreachable webhook keeps no picture from its caption."""
    from captiond.webhook import why_unreachable

    try:
        notify.read_token()
    except CannotStart as verdict:
        return wrong("notify", verdict)
    trouble = why_unreachable(notify.url or "", notify.timeout_seconds)
    if trouble is not None:
        return CheckResult("notify", None, *trouble)
    return CheckResult("notify", True, "notify.url answers")


def _settings(settings: Settings) -> CheckResult:
    where = f"read from {settings.source}" if settings.source else "no file: the defaults and the environment"
    return CheckResult("settings", True, where)


def clock(now: datetime) -> CheckResult:
    """Whether times in sidecars will be true."""
    if trouble := check_host.clock_trouble(now):
        return CheckResult("clock", None, *trouble)
    return CheckResult("clock", True, f"{now:%Y-%m-%d %H:%M} UTC")


# ---- disks ------------------------------------------------------------------------------------------


def _disks(settings: Settings) -> Iterator[CheckResult]:
    """Free space, once for each file system that is written to."""
    places: dict[int, list[tuple[str, Path]]] = {}
    for name, folder in check_folders.named(settings.folders):
        try:
            places.setdefault(folder.stat().st_dev, []).append((name.removeprefix("folders."), folder))
        except OSError:
            continue  # the checks of the folders tell it
    for folders in places.values():
        try:
            disk = os.statvfs(folders[0][1])
        except OSError:
            continue
        free = disk.f_bavail * disk.f_frsize
        message = f"{size(free)} free for {', '.join(name for name, _ in folders)}"
        if free < LEAST_FREE_BYTES:
            yield CheckResult(
                "disk", False, message, "Free some space; the daemon pauses while there is none."
            )
        elif free < settings.limits.max_file_bytes:
            yield CheckResult(
                "disk", None, message, "Less than one file of limits.max_file_bytes: free some."
            )
        elif disk.f_files and disk.f_favail < LEAST_FREE_INODES:
            yield CheckResult("disk", None, f"{message}, but {disk.f_favail} inodes", "Remove some files.")
        else:
            yield CheckResult("disk", True, message)


# ---- the watcher ---------------------------------------------------------------------------------


def _watcher(watch: Watch, inbox: Path) -> CheckResult:
    filesystem = mounts.filesystem_of(inbox)
    is_silent = mounts.is_silent(filesystem)
    polling = f"polling every {watch.poll_interval_seconds:g} s"
    if watch.method == "polling":
        return CheckResult("watcher", True, polling)
    if is_silent and watch.method == "auto":
        return CheckResult("watcher", True, f"{polling}, since {filesystem} sends no events")
    if is_silent:
        return CheckResult(
            "watcher",
            None,
            f"{filesystem} sends no events for what other machines write, and watch.method is native",
            f"Set watch.method to auto; until then new files are found every {watch.rescan_seconds:g} s.",
        )
    limit = _inotify_limit()
    folders = _count_folders(inbox, limit)
    message = f"events of {filesystem or 'the file system'}, {folders} of at most {limit} folders"
    if folders * 10 >= limit * 9:
        return CheckResult(
            "watcher",
            None,
            message,
            f"Raise the limit: sysctl fs.inotify.max_user_watches={max(2 * limit, 524_288)}",
        )
    return CheckResult("watcher", True, message)


def _inotify_limit() -> int:
    try:
        return int(INOTIFY_LIMIT.read_text())
    except (OSError, ValueError):
        return 1_000_000  # the kernel does not tell the limit


def _count_folders(inbox: Path, enough: int) -> int:
    count = 0
    for _ in os.walk(inbox):
        count += 1
        if count >= enough:
            break
    return count


# ---- the model -----------------------------------------------------------------------------------


def _exiftool() -> CheckResult:
    """True also if exiftool is missing: it is optional, and no picture fails without it."""
    version = exiftool.version()
    if version is None:
        message = "not installed; with it (libimage-exiftool-perl), HEIC and AVIF carry their captions, too"
        return CheckResult("exiftool", True, message)
    return CheckResult("exiftool", True, f"{version}, for HEIC and AVIF")


def _server(model: Model) -> CheckResult:
    from captiond.service.build import remote_of

    servers = ", ".join(model.servers)
    try:
        with closing(remote_of(model)) as captioner:
            captioner.load()
            may_be_blind = captioner.may_be_blind
    except Verdict as verdict:
        return wrong("server", verdict)
    if may_be_blind:
        return CheckResult(
            "server",
            None,
            f"{model.id} on {servers} says the same of a red and of a blue picture",
            "It may not see pictures: choose a model that does, or start the server with its vision part.",
        )
    return CheckResult("server", True, f"{model.id} on {servers} has described a picture")


def _model(model: Model) -> CheckResult:
    """Where the checkpoint lies; missing files are not downloaded here."""
    from captiond.captioners import weights

    try:
        if model.id == "demo" or Path(model.id).is_dir() or model.id.startswith(("/", ".", "~")):
            folder = weights.locate(model.id, model.revision).folder
            if not (folder / "config.json").is_file():
                raise CannotStart(
                    f"{folder} holds no checkpoint",
                    exit_code=ExitCode.WRONG_SETTINGS,
                    advice="Install captiond anew, or set model.id to another model.",
                )
            return CheckResult("model", True, f"{model.id} lies in {folder}")
        checkpoint = weights.cached(model.id, model.revision)
    except Verdict as verdict:
        return wrong("model", verdict)
    if checkpoint is not None:
        return CheckResult("model", True, f"{model.id} lies in {checkpoint.folder}")
    return _missing(model)


def _missing(model: Model) -> CheckResult:
    from huggingface_hub import constants

    at = f" --revision {model.revision}" if model.revision else ""
    message = f"{model.id} is not in the cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        return CheckResult(
            "model",
            False,
            f"{message}, and HF_HUB_OFFLINE forbids to download it",
            f"Run `hf download {model.id}{at}` where there is a network, and point HF_HOME at its cache; "
            "or set model.id to a checkpoint folder.",
        )
    in_container = check_host.is_in_container()
    if trouble := check_host.cache_trouble(Path(constants.HF_HUB_CACHE), in_container=in_container):
        return CheckResult("model", None, f"{message}; {trouble[0]}", trouble[1])
    return CheckResult(
        "model",
        None,
        f"{message}; the first start downloads it",
        f"To have it now: hf download {model.id}{at}",
    )


def _quantization(model: Model) -> CheckResult:
    if importlib.util.find_spec("bitsandbytes") is None:
        if (model.device, model.quantization) == ("cpu", "int8"):
            said = "int8 on the CPU is captiond's own for Phi-3.5-vision; other models need bitsandbytes"
            return CheckResult("quantization", None, said, "For those: pip install 'captiond[quant]'.")
        return CheckResult(
            "quantization",
            False,
            f"{model.quantization} needs bitsandbytes, which is not installed",
            "pip install 'captiond[quant]', or set model.quantization to none.",
            ExitCode.WRONG_SETTINGS,
        )
    return CheckResult("quantization", True, f"{model.quantization} by bitsandbytes")


def device(model: Model) -> CheckResult:
    """Whether the device of the settings is there, and what it is."""
    try:
        import torch
    except ImportError as error:
        return CheckResult("device", False, f"torch cannot be loaded: {error}", "Install captiond anew.")
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if model.device.startswith("cuda") or (model.device == "auto" and cards):
        number = int(model.device.partition(":")[2] or 0)
        if not cards:
            why, advice = _why_no_gpu(torch.version.cuda)
            return CheckResult("device", False, f"model.device is {model.device}, and {why}", advice)
        if number >= cards:
            return CheckResult(
                "device",
                False,
                f"model.device is {model.device}, and torch sees {cards} CUDA devices",
                "Count them in `nvidia-smi`; the first is cuda:0.  Or set model.device to auto.",
                ExitCode.WRONG_SETTINGS,
            )
        name = torch.cuda.get_device_name(number)
        capability = torch.cuda.get_device_capability(number)
        if not check_host.is_built_for(capability, torch.cuda.get_arch_list()):
            message = f"cuda:{number}, {name}, for which this torch (CUDA {torch.version.cuda}) was not built"
            advice = "Install the build of torch for a CUDA version that knows this card (docs/container.md)."
            return CheckResult("device", False, message, advice, ExitCode.WRONG_SETTINGS)
        free, total = torch.cuda.mem_get_info(number)
        return CheckResult("device", True, f"cuda:{number}, {name}, {size(free)} of {size(total)} free")
    has_mps = torch.backends.mps.is_available()
    if model.device == "mps" and not has_mps:
        return CheckResult(
            "device", False, "model.device is mps, and torch sees none", "Set model.device to auto."
        )
    if model.device == "mps" or (model.device == "auto" and has_mps):
        return CheckResult("device", True, "mps")
    message = f"cpu, {cores()} cores"
    if model.device == "cpu" or model.id == "demo":
        return CheckResult("device", True, message)
    why, advice = _why_no_gpu(torch.version.cuda)
    return CheckResult("device", None, f"{message}, where a picture may take a minute: {why}", advice)


def _why_no_gpu(cuda_build: str | None) -> check_host.Words:
    return check_host.why_no_gpu(
        cuda_build, has_nvidia=check_host.has_nvidia(), in_container=check_host.is_in_container()
    )
