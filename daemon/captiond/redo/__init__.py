"""Which described pictures, in done/ and in libraries, are described again, and the daemon's lists of them.

The sidecars are the truth.  `walk` reads them beneath opened folders, each bounded and checked; `filters`
says which pictures are meant and which of those are left out, and is pure; `plan` counts; `lists` keeps what
was asked for in `state/redo/`, where the daemon finds it.  Nothing here asks a model (`pipeline.redoing`
does) or touches a picture (`delivery.edit` and `libraries.revising` do).
"""
