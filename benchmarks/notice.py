"""From a rename into the inbox to the sidecar, one picture after the other, while nothing else is to be done.

Workload: small JPEGs, settings as they come (a file settles for 1 s), a model server in a process of its
own that answers at once.  A picture is written outside the inbox and renamed into it; the time ends when
its sidecar is in done/, looked for every 2 ms.  The floor is settle_seconds: nothing earlier would be
right.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from shared import (
    THIS_CHECKOUT,
    Place,
    Report,
    Target,
    model_server,
    numbered,
    options,
    photo,
    place_for,
    quantile,
    until,
)

SETTLE = 1.0  # seconds; the default
MORE = 0.25


def notices(place: Place, count: int) -> list[float]:
    data, seconds = photo(0), []
    with place.running(**THIS_CHECKOUT) as running:
        time.sleep(1.0)
        for number in range(count):
            sidecar = place.done / f"{number}.jpg.caption.json"
            place.drop(numbered(data, number), sidecar.name.removesuffix(".caption.json"))
            began = time.monotonic()
            until(sidecar.exists, running, every=0.002)
            seconds.append(time.monotonic() - began)
            time.sleep(0.037 * (number % 7))  # so that no phase of a timer is always met
    return seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int)
    given = parser.parse_args()
    count = given.pictures or (10 if given.quick else 50)
    with model_server() as server, tempfile.TemporaryDirectory() as folder:
        place = place_for(Path(folder), server.url, watch={"settle_seconds": SETTLE})
        seconds = notices(place, count)
    report = Report("notice", f"{count} pictures one after the other, settle_seconds {SETTLE:g}")
    for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0)):
        report.add(what=f"rename to sidecar, s, {name}", figure=quantile(seconds, share), floor=SETTLE)
    middle = quantile(seconds, 0.5)
    report.targets.append(Target("seconds from rename to sidecar, p50", middle, SETTLE + MORE))
    report.give(given.json)


if __name__ == "__main__":
    main()
