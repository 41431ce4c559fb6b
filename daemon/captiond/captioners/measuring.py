"""What `captiond bench` measures: our own network on this machine, with its weights or with random ones.

It yields each result as it comes, and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from captiond import phi3v
from captiond.captioners.engines import Phi3VEngine, open_engine, stored_dtype
from captiond.captioners.placement import placement
from captiond.captioners.weights import locate
from captiond.errors import CannotStart, ExitCode, Surroundings
from captiond.phi3v import memory, speed

CARD_GIGABYTES = (4, 6, 8, 12, 16, 24, 48, 80)


class Fit(NamedTuple):
    """The most pictures at once on a card that nothing else uses; 0 if not even one fits."""

    card_gigabytes: int
    quantization: str
    num_crops: int
    max_new_tokens: int
    batch_size: int


class Bench:
    """One network, ready to be measured."""

    def __init__(self, model: phi3v.Phi3VForCausalLM, fits: int | None) -> None:
        self.model = model
        self.fits = fits  # what batch_size auto would be, if known
        self.rates = speed.rates(model.device, model.dtype)
        self.too_large: list[tuple[int, int]] = []  # batch sizes and crops at which memory ran out
        self._decoder = phi3v.Decoder(model, ())

    def measured(
        self, batch_sizes: Sequence[int], crops: Sequence[int], *, new_tokens: int, rounds: int
    ) -> Iterator[speed.Measured]:
        """Measure one after the other; if memory runs out, larger batches are left out."""
        for num_crops in crops:
            for batch_size in sorted(batch_sizes):
                try:
                    yield speed.measure(
                        self.model,
                        self.rates,
                        batch_size=batch_size,
                        num_crops=num_crops,
                        new_tokens=new_tokens,
                        pictures=rounds * batch_size,
                        decoder=self._decoder,
                    )
                except torch.OutOfMemoryError:
                    self.too_large.append((batch_size, num_crops))
                    break


def open_bench(
    *,
    model_id: str,
    revision: str | None,
    device: str,
    dtype: str,
    quantization: str,
    num_crops: int,
    max_new_tokens: int,
    random_size: str | None,
) -> Bench:
    """The configured checkpoint, or with `random_size` a network of that size made on the device.

    Raises: CannotStart, if the model is of another family or is spread over several devices.
    """
    try:
        if random_size is not None:
            # The published checkpoint is stored in bfloat16.
            place = placement(device, dtype, quantization, "bfloat16")
            return Bench(speed.random_model(random_size, torch.device(place.device), place.dtype), None)
        folder = locate(model_id, revision).folder
        place = placement(device, dtype, quantization, stored_dtype(folder))
        engine = open_engine(folder, place, num_crops)
    except torch.OutOfMemoryError as error:
        raise Surroundings(
            f"the model does not fit on {place.device}: {error}", advice="See `captiond bench --memory`."
        ) from error
    if not isinstance(engine, Phi3VEngine):
        raise CannotStart(
            f"bench measures Phi-3.5-vision on one device; {model_id} is another model, or too large for one",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="`captiond caption` and `captiond run` serve it all the same.",
        )
    return Bench(engine.model, engine.batch_size_that_fits(max_new_tokens))


def memory_table(crops: Sequence[int], max_new_tokens: int) -> list[Fit]:
    """What fits on common cards: computed, not measured."""
    config = phi3v.Phi3VConfig(**memory.PUBLISHED)
    return [
        Fit(
            gigabytes,
            quantization,
            num_crops,
            max_new_tokens,
            memory.rows_on_card(
                config,
                gigabytes << 30,
                quantization,
                num_crops=num_crops,
                max_new_tokens=max_new_tokens,
            ),
        )
        for gigabytes in CARD_GIGABYTES
        for quantization in ("none", "int8", "int4")
        for num_crops in crops
    ]
