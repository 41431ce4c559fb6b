"""A program called exiftool that keeps to the protocol of the real one and else does what a test says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import os, sys, time


def note():
    open(os.path.join({notes!r}, str(os.getpid())), "x").close()


def requests():
    arguments = []
    while True:
        line = sys.stdin.readline().removesuffix("\\n")
        if not line:  # the real one goes on waiting, too, where its standard input has ended
            time.sleep(0.01)
            continue
        arguments.append(line)
        if line.startswith("-execute"):
            yield arguments
            arguments = []


def content(path):
    with open(path, "rb") as file:
        return file.read()


def say(*parts):
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


note()
for nth, arguments in enumerate(requests()):
    block = content(next(one for one in arguments if one.startswith("-EXIF<=")).removeprefix("-EXIF<="))
    picture = content(next(one for one in arguments if one.startswith("/dev/fd/")))
    status, answer = 0, picture + block
    {body}
    say(answer, b"status=%d\\n{{ready%s}}\\n" % (status, arguments[-1].removeprefix("-execute").encode()))
"""


class FakeExiftool:
    """Installed in a folder of its own; `folder` is what PATH has to begin with."""

    def __init__(self, folder: Path, body: str = "pass") -> None:
        self.folder = folder / "bin"
        self._notes = folder / "processes"
        for path in (self.folder, self._notes):
            path.mkdir()
        self.does(body)

    def does(self, body: str) -> None:
        """What the next process is to do at each request, in Python, with what the program above has."""
        self.write(_PROGRAM.format(python=sys.executable, notes=str(self._notes), body=body).encode())

    def write(self, program: bytes) -> None:
        new = self.folder / "new"
        new.write_bytes(program)
        new.chmod(0o755)
        new.rename(self.folder / "exiftool")

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def processes(self) -> list[int]:
        """All that were ever started, in no order."""
        return [int(note.name) for note in self._notes.iterdir()]

    @property
    def alive(self) -> list[int]:
        return [process for process in self.processes if _is_alive(process)]


def _is_alive(process: int) -> bool:
    """An ended one that nobody has asked about yet is not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
