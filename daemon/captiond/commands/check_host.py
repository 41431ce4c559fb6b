"""What `captiond check` says of the machine itself: its clock, the model cache, why no GPU is seen.

What was found is an argument if possible, so that tests can make each mistake.  Nothing is written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from captiond.inbox import mounts

EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)  # before captiond was written
ROOM_FOR_A_MODEL_BYTES = 10_000_000_000  # the default model takes 8.3 GB
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))

Words = tuple[str, str]  # what is wrong, and what to do


def is_in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def clock_trouble(now: datetime) -> Words | None:
    if now >= EARLIEST:
        return None
    return (
        f"the clock says {now:%Y-%m-%d}: sidecars would carry wrong dates, and no certificate is valid",
        "Set the clock: timedatectl set-ntp true",
    )


def cache_trouble(cache: Path, *, in_container: bool) -> Words | None:
    """Why a model could not be downloaded into `cache`, or not be kept there."""
    place = next(parent for parent in (cache, *cache.parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return (
            f"the model cache {cache} cannot be written to",
            "Make it writable for the user that runs captiond, or point HF_HOME at a folder that is.",
        )
    free = shutil.disk_usage(place).free
    if free < ROOM_FOR_A_MODEL_BYTES:
        return (
            f"{free / 1e9:.1f} GB are free in the model cache {cache}, and a model takes about 8",
            "Free some space, or point HF_HOME at a larger disk.",
        )
    if in_container and mounts.filesystem_of(place) == "overlay":
        return (
            f"the model cache {cache} lies on no volume: each new container downloads the model anew",
            "Give /cache a volume, e.g. docker run -v captiond-cache:/cache",
        )
    return None


def why_no_gpu(cuda_build: str | None, *, has_nvidia: bool, in_container: bool) -> Words:
    """`cuda_build`: the CUDA version torch was built for; `has_nvidia`: whether a driver is loaded."""
    if cuda_build is None:
        return (
            "this torch is a build without CUDA",
            "Install captiond without the CPU index of PyTorch; in a container, leave TORCH_INDEX alone.",
        )
    if has_nvidia:
        return (
            f"there is an NVIDIA driver, but torch for CUDA {cuda_build} cannot use it",
            "Look at `nvidia-smi`: the driver is probably too old for this CUDA; update it.",
        )
    if in_container:
        return (
            "this container was given no GPU",
            "Install the NVIDIA Container Toolkit on the host, and start with `--gpus all`.",
        )
    return "there is no NVIDIA driver", "Install the driver, then look at `nvidia-smi`."


def is_built_for(capability: tuple[int, int], architectures: Collection[str]) -> bool:
    """Whether a build for `architectures` (`sm_86`, `compute_90`) runs on a card of this compute capability.

    Machine code runs on cards of the same major version and no older minor one, PTX on every later card: CUDA
    C++ Programming Guide, "Application Compatibility".
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = "".join(filter(str.isdigit, digits))  # sm_90a
        built_for = int(number[:-1] or 0), int(number[-1:] or 0)
        is_later = built_for <= capability
        if is_later and (kind == "compute" or built_for[0] == capability[0]):
            return True
    return not architectures


def has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
