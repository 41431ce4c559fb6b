"""What one daemon can feed to a chat-completions server: pictures a second, and CPU time for each.

Workload: a real `captiond run` with `model.backend: openai` over JPEGs as cameras make them, and a server
in a process of its own that answers each request after a set time without looking at it.  So the daemon's
own work is measured: decoding, making the JPEG for the wire, sending, laying the caption into the file,
proving it, and every sync of the delivery.  Times count from the moment at which the pictures lie in the
inbox to the last sidecar.  The floor beside a rate is what the server could answer: the requests in flight
over its time for one.
"""

from __future__ import annotations

from overhead import by_the_daemon
from shared import SIZES, Report, model_server, options, photo


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="until the server answers")
    parser.add_argument("--pictures", type=int, help="of one megapixel; a fifth of 12")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 32, 128])
    given = parser.parse_args()
    report = Report("remote", f"a server that answers after {given.seconds:g} s")
    with model_server(given.seconds) as server:
        for megapixels in (1, 12):
            photos = [photo(megapixels)]
            count = (given.pictures or (60 if given.quick else 200)) // (1 if megapixels == 1 else 5)
            for in_flight in given.concurrency:
                cost = by_the_daemon(server.url, photos, count, in_flight)
                report.add(
                    picture=f"{megapixels} MP, {SIZES[megapixels][0]} pixels wide",
                    megabytes=len(photos[0]) / 1e6,
                    in_flight=in_flight,
                    pictures=count,
                    pictures_per_second=count / cost.seconds,
                    server_could=in_flight / given.seconds,
                    cpu_ms_each=1000 * cost.cpu_seconds / count,
                )
    report.give(given.json)


if __name__ == "__main__":
    main()
