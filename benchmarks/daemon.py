"""All that is measured of the daemon around the model, one after the other, with what became of the targets.

    python benchmarks/daemon.py                       # half an hour on two cores
    python benchmarks/daemon.py --quick               # some minutes; the figures are rough
    python benchmarks/daemon.py notice idle --json FILE

Each part is a script of its own beside this one, with the same options and some more; its docstring states
the workload.  Leaves with 1 where a target was missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared import options

PARTS = ("overhead", "busy", "crowd", "notice", "idle")


def measured(part: str, *, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        script = Path(__file__).with_name(f"{part}.py")
        command = [sys.executable, str(script), "--json", str(file), *(["--quick"] if quick else [])]
        subprocess.run(command, check=True)
        figures: dict[str, Any] = json.loads(file.read_text())
    return figures


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    given = parser.parse_args()
    found = [measured(part, quick=given.quick) for part in given.parts or PARTS]
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    missed = [(one["benchmark"], it["what"]) for one in found for it in one["targets"] if not it["is_met"]]
    print("\n" + ("\n".join(f"MISSED by {part}: {what}" for part, what in missed) or "All targets are met."))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
