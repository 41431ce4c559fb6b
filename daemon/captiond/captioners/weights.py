"""From a model id to a folder with the whole checkpoint in it.

`demo` is the checkpoint that ships with captiond, a path is a folder of yours, anything else is a
repository on the Hugging Face Hub.  A checkpoint that the cache holds whole is used without the network;
missing files are downloaded once.  Nothing here looks into the weights, and no code from a repository is run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import structlog
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.errors import HTTPError as NetworkError  # type: ignore[attr-defined]  # of the hub's HTTP library
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils.tqdm import disable_progress_bars

from captiond import demo
from captiond.captioners.downloads import Downloads
from captiond.errors import CannotStart, ExitCode

log = structlog.get_logger(__name__)

# What from_pretrained reads: no .bin (pickles run code), no .py (remote code), no other framework's weights.
FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]

ANSWER_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    folder: Path
    revision: str | None  # the commit, if it came from the Hub

    @property
    def signature(self) -> str:
        """Changes if the folder holds another checkpoint than before, by names, sizes and times."""
        if self.revision is not None:
            return self.revision
        files = sorted(file for pattern in FILES for file in self.folder.glob(pattern))
        return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


def locate(model_id: str, revision: str | None, downloads: Downloads | None = None) -> Checkpoint:
    """The folder of `model_id`, downloaded if need be; `downloads` tells how far that is.

    Raises: CannotStart, with 78 if the folder or repository does not exist or may not be read, with 75 if
    the Hub cannot be reached.
    """
    if model_id == "demo":
        return Checkpoint(demo.checkpoint_path(), None)
    folder = Path(model_id).expanduser()
    if folder.is_dir():
        return _whole_folder(folder)
    if model_id.startswith((".", "/", "~")):
        raise CannotStart(
            f"model.id: there is no folder {folder}",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Give the folder that holds the checkpoint's config.json, or a Hugging Face id.",
        )
    return cached(model_id, revision) or _download(model_id, revision, downloads or Downloads())


def cached(model_id: str, revision: str | None) -> Checkpoint | None:
    """The checkpoint from the cache, without the network; None if it is not there whole."""
    try:
        folder = Path(
            snapshot_download(model_id, revision=revision, allow_patterns=FILES, local_files_only=True)
        )
    except (LocalEntryNotFoundError, RevisionResolutionError):
        return None
    except HFValidationError as error:
        raise _no_such_model(model_id, revision, str(error)) from error
    return Checkpoint(folder, folder.name)


def _whole_folder(folder: Path) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise CannotStart(
            f"model.id: {folder} holds no config.json, so it is no checkpoint",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Give the folder that holds config.json, the tokenizer and the *.safetensors files.",
        )
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    if pickles and not any(folder.glob("*.safetensors")):
        raise CannotStart(
            f"model.id: {folder} holds its weights as {', '.join(pickles[:3])}, "
            "and loading a pickle may run code",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Save them as *.safetensors, as model.save_pretrained(folder) of transformers does.",
        )
    return Checkpoint(folder, None)


def _download(model_id: str, revision: str | None, downloads: Downloads) -> Checkpoint:
    if not sys.stderr.isatty():
        disable_progress_bars()  # a bar in a journal is a hundred lines of nothing
    try:
        # Ask the Hub once first: snapshot_download alone retries a dead network for 23 s before it fails.
        repository = HfApi().model_info(
            model_id, revision=revision, timeout=ANSWER_WITHIN_SECONDS, files_metadata=True
        )
        wanted = _wanted(repository.siblings or ())
        gigabytes = round(sum(wanted.values()) / 1e9, 1)
        log.info("downloading the model", model=model_id, gigabytes=gigabytes, to=_cache())
        blobs = Path(_cache()) / repo_folder_name(repo_id=model_id, repo_type="model") / "blobs"
        with downloads.told(blobs, wanted):
            folder = Path(snapshot_download(model_id, revision=repository.sha, allow_patterns=FILES))
    except GatedRepoError as error:
        raise CannotStart(
            f"model.id: {model_id} is gated: its owner wants you to accept terms first",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice=f"Accept them at https://huggingface.co/{model_id}, then run `hf auth login`.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise _no_such_model(model_id, revision, "the Hugging Face Hub does not know it") from error
    except (OSError, NetworkError) as error:  # the hub's offline mode raises an OSError
        raise _cannot_be_had(model_id, revision, error) from error
    return Checkpoint(folder, folder.name)


def _wanted(files: Iterable[RepoSibling]) -> dict[str, int]:
    """The names that the cache gives the files, which are their checksums, and their sizes."""
    wanted: dict[str, int] = {}
    for file in files:
        name = file.lfs.sha256 if file.lfs is not None else file.blob_id
        if name is not None and any(fnmatch(file.rfilename, pattern) for pattern in FILES):
            wanted[name] = file.size or 0
    return wanted


def _no_such_model(model_id: str, revision: str | None, why: str) -> CannotStart:
    at = f" at revision {revision}" if revision else ""
    return CannotStart(
        f"model.id: there is no model {model_id!r}{at}: {why}",
        exit_code=ExitCode.WRONG_SETTINGS,
        advice="Check model.id and model.revision; a local folder is given as a path.",
    )


def _cannot_be_had(model_id: str, revision: str | None, error: Exception) -> CannotStart:
    at = f" --revision {revision}" if revision else ""
    offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
    return CannotStart(
        f"the model {model_id} is not in the cache {_cache()}, "
        f"and the Hugging Face Hub cannot be reached{offline}: {str(error).splitlines()[0]}",
        exit_code=ExitCode.TRY_AGAIN,
        advice=(
            "With a network, start again (unset HF_HUB_OFFLINE if it is set); a broken download is resumed.  "
            f"Without one, run `hf download {model_id}{at}` on another machine, copy its cache folder here, "
            "and point HF_HOME at it; or set model.id to a checkpoint folder, or to `demo` for a first look."
        ),
    )


def _cache() -> str:
    return constants.HF_HUB_CACHE
