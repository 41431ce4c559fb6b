"""Pictures' bytes to upright 8-bit RGB, within limits, in processes that can be killed.  The only decoding.

Other rooms use `Decoders` alone.  `pool` and `nursery` are the daemon's side, `worker` is the other process,
which runs `decoding` (with `converting`, `png`, `tiff_kind`) behind a `sandbox`; both sides share `header`,
`wire` and `shared`.  Nothing is written.
"""

from captiond.pictures.header import NeededSide
from captiond.pictures.pool import DecoderFault, Decoders, How

__all__ = ["DecoderFault", "Decoders", "How", "NeededSide"]
