"""Pictures' bytes to upright 8-bit RGB, within limits, in processes that can be killed.  The only decoding.

Other rooms use `pool.Decoders` alone.  `pool`, `answers` and `nursery` are the daemon's side; `worker` is the
other process, which runs `decoding` (with `converting`, `png`, `tiff_kind`) behind a `sandbox`; both sides
share `header`, `wire` and `shared`.  Nothing is written.  Nothing is imported here, since a decoder's process
starts by importing this.
"""
