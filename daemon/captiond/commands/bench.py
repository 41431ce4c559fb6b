"""What `captiond bench` prints of what was measured: a table for people, one object for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from captiond.captioners import measuring

if TYPE_CHECKING:
    from captiond.phi3v.speed import Measured
    from captiond.settings import Settings


class Told(Protocol):
    """A result, for people and for programs."""

    def as_json(self) -> Any: ...
    def lines(self) -> Iterator[str]: ...


class Fits:
    """What fits on common cards, computed; nothing is loaded."""

    def __init__(self, settings: Settings, crops: Sequence[int]) -> None:
        table = measuring.memory_table(crops or (1, 4, 16), settings.caption.max_new_tokens)
        self._rows = [fit._asdict() for fit in table]

    def as_json(self) -> list[dict[str, Any]]:
        return self._rows

    def lines(self) -> Iterator[str]:
        return table(self._rows, {0: "too small"})


class Benchmark:
    """The configured model, or a network of some size with random weights; `note` is told the progress."""

    def __init__(self, settings: Settings, random_size: str | None, note: Callable[[str], None]) -> None:
        chosen, self._note = settings.model, note
        note("loading the model ...")
        self._crops = (chosen.num_crops,)
        self._bench = measuring.open_bench(
            model_id=chosen.id,
            revision=chosen.revision,
            device=chosen.device,
            dtype=chosen.dtype,
            quantization=chosen.quantization,
            num_crops=chosen.num_crops,
            max_new_tokens=settings.caption.max_new_tokens,
            random_size=random_size,
        )
        self._found: list[Measured] = []

    def measure(
        self, batch_sizes: Sequence[int], crops: Sequence[int], *, new_tokens: int, rounds: int
    ) -> None:
        sizes = batch_sizes or ((1, 4, 8) if self._bench.model.device.type == "cpu" else (1, 16, 64))
        for one in self._bench.measured(sizes, crops or self._crops, new_tokens=new_tokens, rounds=rounds):
            self._note(f"batch {one.batch_size}, num_crops {one.num_crops}: done")
            self._found.append(one)

    def as_json(self) -> dict[str, Any]:
        bench, best = self._bench, self._best()
        return {
            "device": str(bench.model.device),
            "dtype": str(bench.model.dtype),
            **bench.rates._asdict(),
            "rows": [one.as_json() for one in self._found],
            "auto_batch_size": bench.fits,
            "fastest_batch_size": best.batch_size if best else None,
            "out_of_memory": bench.too_large,
        }

    def lines(self) -> Iterator[str]:
        bench, rates = self._bench, self._bench.rates
        yield (
            f"{bench.model.device}, {str(bench.model.dtype).removeprefix('torch.')}: "
            f"{rates.bytes_per_second / 1e9:.0f} GB/s, {rates.flops_per_second / 1e12:.2f} TFLOP/s measured"
        )
        yield from table([_row(one) for one in self._found])
        for batch_size, num_crops in bench.too_large:
            yield f"Out of memory from batch {batch_size} on at num_crops {num_crops}."
        if best := self._best():
            fastest = f"model.batch_size {best.batch_size}, model.num_crops {best.num_crops}"
            told = f"; auto would take {bench.fits}" if bench.fits else ""
            yield f"Fastest of these: {fastest}{told}."

    def _best(self) -> Measured | None:
        return max(self._found, key=lambda one: one.pictures_per_second, default=None)


def table(rows: Sequence[dict[str, Any]], words: Mapping[Any, str] | None = None) -> Iterator[str]:
    """Rows under their keys; `words`: what to print instead of a value, e.g. of 0."""
    said = [{key: str((words or {}).get(value, value)) for key, value in row.items()} for row in rows]
    if said:
        widths = {key: max(len(key), *(len(row[key]) for row in said)) for key in said[0]}
        for row in ({key: key for key in widths}, *said):
            yield "  ".join(f"{row[key]:>{width}}" for key, width in widths.items())


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
