"""A limit of a user namespace of its own, so that nobody else on the machine notices."""

from __future__ import annotations

import subprocess


def within(limit: str, number: int) -> tuple[str, ...]:
    """The command before a command that gives it a limit of /proc/sys/user."""
    shell = f'echo {number} > /proc/sys/user/{limit} && exec "$@"'
    return ("unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh")


def missing(command: tuple[str, ...]) -> str | None:
    """Why the command cannot be given its limit here; None if it can."""
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else "user namespaces with limits of their own are not permitted"
