"""What `captiond bench` prints of what was measured: a table for people, one object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from captiond.captioners import measuring

if TYPE_CHECKING:
    from captiond.captioners.measuring import Bench
    from captiond.phi3v.speed import Measured
    from captiond.settings import Settings


def fits(settings: Settings, crops: Sequence[int]) -> list[dict[str, Any]]:
    """What fits on common cards, computed; nothing is loaded."""
    table = measuring.memory_table(crops or (1, 4, 16), settings.caption.max_new_tokens)
    return [fit._asdict() for fit in table]


def opened(settings: Settings, random_size: str | None) -> Bench:
    """The configured model, or a network of that size with random weights, ready to be measured."""
    chosen = settings.model
    return measuring.open_bench(
        model_id=chosen.id,
        revision=chosen.revision,
        device=chosen.device,
        dtype=chosen.dtype,
        quantization=chosen.quantization,
        num_crops=chosen.num_crops,
        max_new_tokens=settings.caption.max_new_tokens,
        random_size=random_size,
    )


def as_json(bench: Bench, found: Sequence[Measured]) -> dict[str, Any]:
    best = _best(found)
    return {
        "device": str(bench.model.device),
        "dtype": str(bench.model.dtype),
        **bench.rates._asdict(),
        "rows": [one.as_json() for one in found],
        "auto_batch_size": bench.fits,
        "fastest_batch_size": best.batch_size if best else None,
        "out_of_memory": bench.too_large,
    }


def lines(bench: Bench, found: Sequence[Measured]) -> Iterator[str]:
    rates, precision = bench.rates, str(bench.model.dtype).removeprefix("torch.")
    yield (
        f"{bench.model.device}, {precision}: {rates.bytes_per_second / 1e9:.0f} GB/s, "
        f"{rates.flops_per_second / 1e12:.2f} TFLOP/s measured"
    )
    yield from table([_row(one) for one in found])
    for batch_size, num_crops in bench.too_large:
        yield f"Out of memory from batch {batch_size} on at num_crops {num_crops}."
    if best := _best(found):
        told = f"; auto would take {bench.fits}" if bench.fits else ""
        yield f"Fastest of these: model.batch_size {best.batch_size}, model.num_crops {best.num_crops}{told}."


def table(rows: Sequence[dict[str, Any]], words: Mapping[Any, str] | None = None) -> Iterator[str]:
    """Rows under heads, which are the keys; `words`: what stands for a value, e.g. for 0."""
    said = [{key: str((words or {}).get(value, value)) for key, value in row.items()} for row in rows]
    if said:
        widths = {key: max(len(key), *(len(row[key]) for row in said)) for key in said[0]}
        for row in ({key: key for key in widths}, *said):
            yield "  ".join(f"{row[key]:>{width}}" for key, width in widths.items())


def _best(found: Sequence[Measured]) -> Measured | None:
    return max(found, key=lambda one: one.pictures_per_second, default=None)


def _row(one: Measured) -> dict[str, Any]:
    return {
        "batch_size": one.batch_size,
        "num_crops": one.num_crops,
        "new_tokens": one.new_tokens,
        "pictures/s": f"{one.pictures_per_second:.2f}",
        "tokens/s": f"{one.tokens_per_second:.0f}",
        "of the floor": f"{one.share_of_floor:.0%}",
        "memory GB": f"{one.memory_bytes / 1e9:.1f}",
    }
