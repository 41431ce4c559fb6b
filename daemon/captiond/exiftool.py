"""Asks exiftool to put a finished EXIF block into a file whose parts would have to be moved: HEIC and AVIF.

It gets copies in files that have no name, so that neither a user's file nor a folder is within its reach, and
nothing is left behind whatever ends it.  One process for each file: nothing to restart, and a hostile file
holds up no other.  What it gives back is proved elsewhere (`metadata.heif`); it is believed in nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from tempfile import TemporaryFile

from captiond.metadata.refusal import Refused

TIMEOUT_SECONDS = 30.0
_ROOM_BYTES = 1 << 20  # by which a file may grow, besides the block


def place(data: bytes, block: bytes, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """The file with `block` for its EXIF, as exiftool has it.  Raises Refused where there is none."""
    program = shutil.which("exiftool")
    if program is None:
        raise Refused("exiftool is not installed, which writes into HEIC and AVIF files")
    try:
        with TemporaryFile() as old, TemporaryFile() as exif, TemporaryFile() as new:
            for file, content in ((old, data), (exif, block)):
                file.write(content)
                file.seek(0)
            done = subprocess.run(
                # No settings of a user's own; "-" is its stdin, and then its answer goes to stdout.
                [program, "-config", "", f"-EXIF<=/dev/fd/{exif.fileno()}", "-"],
                stdin=old,
                stdout=new,
                stderr=subprocess.DEVNULL,
                pass_fds=[exif.fileno()],
                start_new_session=True,  # Ctrl-C is meant for the daemon, which finishes what is in work
                timeout=timeout_seconds,
                check=False,
            )
            size = new.seek(0, 2)
            if done.returncode or not 0 < size <= len(data) + len(block) + _ROOM_BYTES:
                raise Refused(f"exiftool could not write into it (exit status {done.returncode})")
            new.seek(0)
            return new.read()
    except subprocess.TimeoutExpired:
        raise Refused(f"exiftool did not answer within {timeout_seconds:g} s") from None
    except OSError as error:  # no room for the copies, no process to be had
        raise Refused(f"exiftool could not be asked: {error}") from error


def version() -> str | None:
    """Which exiftool is installed; None where there is none that answers."""
    program = shutil.which("exiftool")
    if program is None:
        return None
    command = [program, "-config", "", "-ver"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
