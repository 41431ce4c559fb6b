"""The kernel gives this user no inotify instance, as on a container host that has used them up."""

from __future__ import annotations

import subprocess
from pathlib import Path

from faults.load import loaded

PICTURES = (20, 300)
# A limit of a user namespace of its own, so that nobody else notices.
LIMITED = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"',
    "sh",
)


def missing() -> str | None:
    probe = subprocess.run([*LIMITED, "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else "user namespaces with limits of their own are not permitted"


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running(*LIMITED) as daemon:
            for number in range(pictures):
                load.drop(1, folder=f"{number % 7}")
            load.until_delivered(daemon)
            daemon.until(lambda: "sysctl fs.inotify.max_user_instances=" in daemon.log())
        load.check()
    return "polled, told as degraded"
