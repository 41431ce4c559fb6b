"""Which pictures of done/ are described again, and the lists by which the daemon does it.

The sidecars in done/ are the truth.  `walk` reads them beneath a descriptor of done/, each bounded and
checked; `filters` says which pictures are meant and which of those are left out, and is pure; `plan` counts;
`lists` keeps what was asked for in `state/redo/`, where the daemon finds it.  Nothing here asks a model
(`pipeline.redoing` does) or touches a picture (`delivery.edit` does).
"""
