"""How many kernels the network launches, and how many bytes they move: counted, without a GPU.

Workload: the full-size network in bfloat16 on tensors that have shapes and no numbers; one prefill of the
pictures that pass together at 4 crops, and one decoding step, by the captioner's own loop.  Each operation
that is not a view counts as one kernel; it reads each number of its inputs once and writes each of its
result.  What CUDA builds of torch do in one kernel though other devices take several (`rms_norm`, attention)
is counted so, and attention that is given a mask of true and false as one more, which makes it additive.
What is copied to the device is counted like the rest.  No time is measured: a kernel of a step takes some
microseconds to start, and bytes take what the card's memory needs for them.

    python benchmarks/passes.py                          # a table
    python benchmarks/passes.py --beside CHECKOUT        # and of another that prepares pictures so
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from captiond.phi3v import Decoder, Phi3VConfig, Phi3VForCausalLM, memory, speed
from captiond.phi3v.generation import PREFILL_TOKENS
from captiond.phi3v.rows import Row, groups

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS, NEW_TOKENS = 64, 60
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "linear", "_int_mm",
            "scaled_dot_product_attention")  # fmt: skip
# They make a tensor of what is already there, or of nothing.
FREE = ("empty", "empty_like", "empty_strided", "new_empty", "detach_")
# They read of their first argument no more than they give, or than they write.
PARTIAL = ("embedding", "index", "index_select", "index_put", "index_put_", "gather")
WRITTEN_ONLY = ("copy_", "fill_", "zero_", "index_put_")


@dataclass
class Count:
    kernels: int = 0
    weights: int = 0  # bytes, as are the others
    cache: int = 0
    products: int = 0  # what goes into matrix products and attention and comes out of them
    elementwise: int = 0
    by_name: dict[str, int] = field(default_factory=dict)


class Counting(TorchDispatchMode):
    """Adds up what the operations beneath it would do on a card."""

    def __init__(self, weights: set[int], cache: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Count()
        self.is_off = False
        self._weights, self._cache = weights, cache

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        name = function._schema.name.removeprefix("aten::")
        if not self.is_off and name not in FREE and not _is_view(function, args, made):
            self.take(name, _read(name, function, args, kwargs), _written(name, args, made))
        return made

    def take(
        self, name: str, read: list[tuple[torch.Tensor, int]], made: list[tuple[torch.Tensor, int]]
    ) -> None:
        count = self.count
        count.kernels += 1
        moved = 0
        for tensor, size in [*read, *made]:
            moved += size
            storage = tensor.untyped_storage()._cdata
            if storage in self._weights:
                count.weights += size
            elif storage in self._cache:
                count.cache += size
            elif name in PRODUCTS:
                count.products += size
            else:
                count.elementwise += size
        count.by_name[name] = count.by_name.get(name, 0) + moved


class AsOnCuda(TorchFunctionMode):
    """What is one kernel there is told as one, whatever this device makes of it."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name not in ("scaled_dot_product_attention", "rms_norm") or self._counting.is_off:
            return function(*args, **kwargs)
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
        self._counting.is_off = True
        made = function(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            # As the fused kernels lay it out: heads beside each other, so that joining them copies nothing.
            made = made.transpose(1, 2).contiguous().transpose(1, 2)
            if given[-1].dtype == torch.bool:
                additive = given[-1].to(given[0].dtype)
                self._counting.take("mask", _whole(given[-1:]), _whole([additive]))
                given[-1] = additive
        self._counting.is_off = False
        self._counting.take(name, _whole(given), _whole([made]))
        return made


def _whole(tensors: Iterable[torch.Tensor]) -> list[tuple[torch.Tensor, int]]:
    return [(one, _bytes(one)) for one in tensors]


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, (tuple, list)):
        for one in found:
            yield from _tensors(one)


def _is_view(function: Any, args: Any, made: Any) -> bool:
    """Whether nothing was moved: what came out lies where something that went in does, unchanged."""
    if function._schema.is_mutable:
        return False
    before = {one.untyped_storage()._cdata for one in _tensors(args)}
    return all(one.untyped_storage()._cdata in before for one in _tensors(made))


def _written(name: str, args: Any, made: Any) -> list[tuple[torch.Tensor, int]]:
    if name == "index_put_":  # no more than what is given
        return [(args[0], _bytes(args[2]))]
    return _whole(_tensors(made))


def _bytes(tensor: torch.Tensor) -> int:
    """Of its different numbers: one that is spread over a dimension is read once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    count = 1
    for size, stride in sizes:
        count *= size if stride else 1
    return count * tensor.itemsize


def _read(name: str, function: Any, args: Any, kwargs: Any) -> list[tuple[torch.Tensor, int]]:
    outputs = [kwargs[one.name] for one in function._schema.arguments if one.is_out and one.name in kwargs]
    given = [one for one in _tensors([*args, *kwargs.values()]) if not any(one is out for out in outputs)]
    if name in WRITTEN_ONLY:
        given = given[1:]
    if name in PARTIAL:  # each number that is given or written is read somewhere
        sizes = [_bytes(one) for one in given]
        if name == "index_put_":
            return list(zip(given, sizes, strict=True))
        whole, *chosen = given
        other = list(zip(chosen, sizes[1:], strict=True))
        return other if name == "index_put" else [(whole, 0), *other]
    return _whole(given)


def network() -> Phi3VForCausalLM:
    """The published shape in bfloat16, without numbers."""
    with torch.device("meta"):
        made: Phi3VForCausalLM = Phi3VForCausalLM._from_config(  # type: ignore[no-untyped-call]
            Phi3VConfig(**memory.PUBLISHED), dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
    return made


def counted(model: Phi3VForCausalLM, rows: int, **options: Any) -> dict[str, Count]:
    """A prefill of as many pictures as pass together, and a step of that many rows at half their answers."""
    prompts = speed.prompts(model, 4)
    requests = [prompts[at % len(prompts)].request(NEW_TOKENS) for at in range(rows)]
    asked = [Row.of(request, 4096) for request in requests]
    decoder = Decoder(model, (), **options)
    decoder._make_room(max(row.longest for row in asked), rows)
    cache = decoder._cache
    assert cache is not None
    weights = {one.untyped_storage()._cdata for one in model.parameters()}
    cached = {cache._data.untyped_storage()._cdata}
    group = next(groups(asked, PREFILL_TOKENS))
    seen = asked[0].prompt_length + NEW_TOKENS // 2
    seen = min(cache.length, -(-seen // 256) * 256)
    works: dict[str, Callable[[], None]] = {
        f"a prefill of {len(group)}": lambda: decoder._prefill(group, 0),
        f"a step of {rows}": lambda: decoder._decode(rows, seen),
    }
    found = {}
    for name, work in works.items():
        with Counting(weights, cached) as counting, AsOnCuda(counting):
            work()
        found[name] = counting.count
    return found


def table(ways: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown; bytes in GB."""
    lines = [
        "| what | checkout | kernels | weights | cache | products | elementwise | all |",
        "|---" * 8 + "|",
    ]
    for what in next(iter(ways.values())):
        for way, found in ways.items():
            one = found[what]
            parts = [one[name] for name in ("weights", "cache", "products", "elementwise")]
            cells = [what, way, one["kernels"], *(f"{size / 1e9:.2f}" for size in [*parts, sum(parts)])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def elsewhere(checkout: Path, rows: int) -> dict[str, Any]:
    """The same count of another checkout's loop, by this very instrument."""
    done = subprocess.run(
        [sys.executable, __file__, "--rows", str(rows), "--json"],
        env={**os.environ, "PYTHONPATH": str(checkout.resolve() / "daemon")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="count that one first")
    parser.add_argument("--by-name", action="store_true", help="also which operations move how much")
    parser.add_argument("--json", action="store_true", help="numbers instead of a table")
    given = parser.parse_args()
    ours = {name: asdict(one) for name, one in counted(network(), given.rows).items()}
    if given.json:
        print(json.dumps(ours))
        return
    ways = {"this": ours}
    if given.beside is not None:
        ways = {given.beside.name: elsewhere(given.beside, given.rows), **ways}
    print(table(ways))
    for name, found in ours.items() if given.by_name else ():
        most = sorted(found["by_name"].items(), key=lambda item: -item[1])
        print(f"\n{name}: " + ", ".join(f"{one} {size / 1e9:.2f}" for one, size in most))


if __name__ == "__main__":
    main()
