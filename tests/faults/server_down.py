"""The model server is gone: nobody listens at its address.  Later one does again."""

from __future__ import annotations

from pathlib import Path

from fake_chat_server import FakeChatServer, hangs_up
from faults.load import Count, loaded, paused

PICTURES = (10, 500)


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            load.drop(2)
            load.until_delivered(daemon)
            is_paused = paused(daemon, "cannot be reached")
            load.server.always = hangs_up  # whoever is connected still
            load.server.stop()
            names = load.drop(pictures)
            daemon.until(is_paused)
            assert set(load.place.left_in_inbox()) == set(names)
            with FakeChatServer(port=load.server.port) as revived:
                revived.seen = Count()
                load.until_delivered(daemon)
        load.check()
        for name in names:
            assert load.place.sidecar(name)["attempts"] == 1
    return "paused"
