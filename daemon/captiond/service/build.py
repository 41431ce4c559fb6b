"""Where settings become objects; the rooms get plain values and have never heard of settings.

Nothing is opened, started or bound here: `daemon` does that, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captiond.cache import Cache
from captiond.captioners import Captioner
from captiond.captioners.installed import need_local_models
from captiond.delivery import Delivery
from captiond.delivery.attempts import Attempts
from captiond.delivery.nesting import refuse_nested
from captiond.exiftool import Exiftool
from captiond.history import History
from captiond.inbox import Inbox
from captiond.libraries import Index, Libraries, Library, Place, Watching
from captiond.pictures.pool import Decoders
from captiond.pipeline.gate import Gate
from captiond.service.questions import longest_answer
from captiond.service.resting import Resting, resting_of
from captiond.service.rules import RuleBook, ignore_of, urgent_of
from captiond.settings import split_address
from captiond.status import Tally

if TYPE_CHECKING:
    from captiond.captioners.remote import RemoteCaptioner
    from captiond.settings import Settings
    from captiond.settings.library import Library as LibrarySettings
    from captiond.settings.schema import Model
    from captiond.web import Door
    from captiond.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Rooms:
    """All that serves one inbox, built and joined, not yet started."""

    settings: Settings  # as at the start: a reload changes `rules`, `inbox`, `libraries` and the log
    rules: RuleBook
    exiftool: Exiftool
    decoders: Decoders
    resting: Resting
    gate: Gate
    tally: Tally
    attempts: Attempts
    history: History
    cache: Cache | None
    delivery: Delivery
    inbox: Inbox
    libraries: Libraries


def build(settings: Settings) -> Rooms:
    """Raises: CannotStart, if the folders lie inside one another."""
    folders = settings.folders
    refuse_nested(folders.inbox, folders.done, folders.failed, folders.state, **places_of(settings.libraries))
    exiftool = Exiftool()
    rules = RuleBook(settings, exiftool)
    attempts = Attempts(folders.state)
    inbox = inbox_of(settings)
    resting = resting_of(settings)
    return Rooms(
        settings=settings,
        rules=rules,
        exiftool=exiftool,
        decoders=decoders_of(settings),
        resting=resting,
        gate=Gate(resting=resting.look),
        tally=Tally(),
        attempts=attempts,
        history=History(folders.state),
        cache=Cache(folders.state, settings.cache.entries) if settings.cache.entries else None,
        delivery=Delivery(folders.inbox, folders.done, folders.failed, attempts, rules.of),
        inbox=inbox,
        libraries=_libraries(settings, rules, attempts, inbox),
    )


def inbox_of(settings: Settings) -> Inbox:
    """The inbox of the settings; nobody has looked into it yet."""
    watch = settings.watch
    return Inbox(
        settings.folders.inbox,
        settle_seconds=watch.settle_seconds,
        settle_untold_seconds=watch.settle_untold_seconds,
        incomplete_after_seconds=watch.incomplete_after_seconds,
        rescan_seconds=watch.rescan_seconds,
        poll_interval_seconds=watch.poll_interval_seconds,
        method=watch.method,
        ignore=ignore_of(settings),
        is_urgent=urgent_of(settings),
    )


def places_of(libraries: Iterable[LibrarySettings]) -> dict[str, Path]:
    """The folders of libraries and of their sidecars, by the names that messages give them."""
    places = {}
    for one in libraries:
        places[f"the library {one.name!r}"] = one.path
        if one.mirror is not None:
            places[f"the sidecars of the library {one.name!r}"] = one.mirror
    return places


def _libraries(settings: Settings, rules: RuleBook, attempts: Attempts, inbox: Inbox) -> Libraries:
    watch, index = settings.watch, Index(settings.folders.state)
    watching = Watching(
        settle_seconds=watch.settle_seconds,
        settle_untold_seconds=watch.settle_untold_seconds,
        incomplete_after_seconds=watch.incomplete_after_seconds,
        rescan_seconds=watch.rescan_seconds,
        method=watch.method,
    )
    made = [
        Library(
            Place(one.name, one.path, one.mirror),
            index,
            attempts,
            rules.of_library(one.name, xmp="xmp" in one.write),
            ignore_of(settings, one.name),
            watching,
            describes_existing=one.existing,
            wake=inbox.wake,
        )
        for one in settings.libraries
    ]
    return Libraries(made, index)


def decoders_of(settings: Settings) -> Decoders:
    limits = settings.limits
    return Decoders(seconds=limits.decode_seconds, memory_bytes=limits.decode_memory_bytes)


def preview_of(settings: Settings, exiftool: Exiftool) -> Callable[[bytes], bytes | None] | None:
    """A function that finds the JPEG in a RAW that the decoders cannot read; None if exiftool is off."""
    return exiftool.preview if settings.output.exiftool == "auto" else None


def remote_of(model: Model) -> RemoteCaptioner:
    """The servers that the settings name.

    Raises: CannotStart, if the key, the proxy or the certificates cannot be used.
    """
    from captiond.captioners.remote import RemoteCaptioner

    key = model.read_api_key()
    return RemoteCaptioner(
        base_url=model.servers,
        model_id=model.id,
        api_key=key.get_secret_value() if key else None,
        max_concurrency=model.max_concurrency,
        timeout_seconds=model.timeout_seconds,
        max_side=model.max_side,
        proxy=model.proxy,
        ca_file=model.ca_file,
    )


def captioner_of(settings: Settings) -> Captioner[Any]:
    """The captioner that the settings ask for, not yet loaded.  Torch is imported here or never."""
    model = settings.model
    if model.backend == "openai":
        return remote_of(model)
    need_local_models()
    from captiond.captioners.local import LocalCaptioner

    return LocalCaptioner(
        model_id=model.id,
        revision=model.revision,
        device=model.device,
        dtype=model.dtype,
        quantization=model.quantization,
        num_crops=model.num_crops,
        batch_size=None if model.batch_size == "auto" else model.batch_size,
        max_new_tokens=longest_answer((settings, *settings.profiles)),
        keep_alive_seconds=model.keep_alive_seconds,
    )


def door_of(settings: Settings) -> Door | None:
    """The HTTP door, bound to its address, if the settings want one.  FastAPI is imported here or never."""
    http = settings.http
    if http.listen is None:
        return None
    from captiond.web import Door

    token = http.read_token()
    host, port = split_address(http.listen)
    return Door(
        host,
        port,
        token=token.get_secret_value() if token else None,
        max_upload_bytes=http.max_upload_bytes,
        people=http.read_people(),
        root_path=http.root_path or "",
    )


def webhook_of(settings: Settings) -> Webhook | None:
    """The webhook, if the settings name one.  httpx is imported here or never."""
    notify = settings.notify
    if notify.url is None:
        return None
    from captiond.webhook import Webhook

    token = notify.read_token()
    return Webhook(
        notify.url,
        token=token.get_secret_value() if token else None,
        timeout_seconds=notify.timeout_seconds,
    )
