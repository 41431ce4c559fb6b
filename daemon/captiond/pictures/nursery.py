"""The process that forks decoders, as the daemon sees it: started, asked for one, told to end one.

If it has ended, it is started again.  Its environment has no secrets in it, and no terminal's signals reach
it: the daemon says when its decoders end.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

from captiond.errors import Surroundings, as_surroundings
from captiond.pictures import wire

STARTING_SECONDS = 60.0  # for a busy machine; usually it takes a third of a second
ENDING_SECONDS = 5.0
_PASSED_ON = ("PYTHON", "LD_", "LC_", "LANG", "PATH")  # beginnings of variables' names
# Each decoder works on one core, and a library that starts threads could not be forked.
_ALONE_ON_ITS_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class Nursery:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self) -> None:
        """Begin to start it, without waiting.  Raises: Surroundings, if no process can be started."""
        with self._lock:
            self._started()

    def fork(self) -> tuple[int, socket.socket]:
        """A new decoder: its process, and the socket to talk to it.

        Raises: Surroundings, if no decoder can be started.
        """
        with self._lock:
            try:
                ours, theirs = wire.pair()
                try:
                    return self._asked("start", theirs.fileno()), ours
                except BaseException:
                    ours.close()
                    raise
                finally:
                    theirs.close()
            except OSError as error:
                raise as_surroundings(error, "starting a decoder") from error

    def end(self, decoder: int) -> int | None:
        """End the decoder; returns its status, as os.waitpid gives it, None if it ended with its nursery."""
        with self._lock:
            if self._channel is None:
                return None
            try:
                return self._exchanged(self._channel, "end", decoder)
            except (EOFError, OSError, ValueError):
                self._stop()
                return None

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _asked(self, word: str, descriptor: int) -> int:
        """The nursery's answer; it is started again once, if it has ended since it was last asked."""
        for is_last in (False, True):
            channel = self._channel or self._started()
            try:
                return self._exchanged(channel, word, descriptors=(descriptor,))
            except (EOFError, OSError, ValueError) as error:
                code = self._stop()
                if is_last:
                    raise Surroundings(
                        f"decoders cannot be started: {error or type(error).__name__} (exit code {code})",
                        advice="Look at what it said in the log; is the installation whole?",
                    ) from error
        raise AssertionError("the last time raises")

    def _exchanged(self, channel: socket.socket, *words: object, descriptors: tuple[int, ...] = ()) -> int:
        """The nursery's answer, which is a number.  Raises: ValueError, if it answers anything else."""
        wire.send(channel, *words, descriptors=descriptors)
        (number,), _ = wire.receive(channel)
        return int(number)

    def _started(self) -> socket.socket:
        ours, theirs = wire.pair()
        ours.settimeout(STARTING_SECONDS)
        command = [sys.executable, "-P", "-m", "captiond.pictures.worker", str(theirs.fileno())]
        inherited = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        ours_too = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=inherited | ours_too | _ALONE_ON_ITS_CORE,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise as_surroundings(error, "starting the decoders") from error
        finally:
            theirs.close()
        self._channel = ours
        return ours

    def _stop(self) -> int | None:
        """Close the nursery's socket: it then kills its decoders and ends."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is None:
            return None
        process, self._process = self._process, None
        try:
            return process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
