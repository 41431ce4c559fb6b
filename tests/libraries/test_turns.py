"""Whose turn it is to ask the model."""

from __future__ import annotations

import threading

from captiond.pipeline.turns import Turns

PATIENCE_SECONDS = 30.0


def test_libraries_wait_while_one_of_the_inbox_is_on_its_way() -> None:
    """Those of libraries begin only when none of the inbox is on its way."""
    turns, began = Turns(2), threading.Event()

    def ask() -> None:
        with turns.of_library():
            began.set()

    asking = threading.Thread(target=ask)
    with turns.of_inbox():
        asking.start()
        assert not began.wait(0.05)
    assert began.wait(PATIENCE_SECONDS)
    asking.join()


def test_no_more_of_them_ask_at_once_than_the_model_serves() -> None:
    """So that what is dropped waits for one in work, and not for a queue of them."""
    turns, going_on = Turns(2), threading.Event()
    asking, most = 0, 0
    counting = threading.Lock()
    two = threading.Event()

    def ask() -> None:
        nonlocal asking, most
        with turns.of_library():
            with counting:
                asking += 1
                most = max(most, asking)
                if asking == 2:
                    two.set()
            going_on.wait(PATIENCE_SECONDS)
            with counting:
                asking -= 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert two.wait(PATIENCE_SECONDS)
    going_on.set()
    for thread in threads:
        thread.join()
    assert most == 2
