"""What the daemon is measured with is itself right."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import overhead
import shared


def test_the_same_work_is_done_by_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both ways ask the server about each picture; the report says what became of the target."""
    photos = [shared.photo(0)]
    with shared.model_server() as server:
        cost = overhead.by_hand(server.url, photos, 2, 1)
        assert len(server.busy()) == 2
    report = shared.Report("overhead", "two pictures")
    report.add(what="seconds", figure=cost.seconds)
    report.targets += [shared.Target("seconds", cost.seconds, 600.0), shared.Target("rate", 1.0, 2.0, True)]
    report.give(tmp_path / "bench/figures.json")
    told = json.loads((tmp_path / "bench/figures.json").read_text())
    assert told["rows"] == [{"what": "seconds", "figure": cost.seconds}]
    assert [target["is_met"] for target in told["targets"]] == [True, False]
    assert "MISSED: rate: 1 (at least 2)" in capsys.readouterr().out


def test_numbered_pictures_are_the_same_picture() -> None:
    """Other bytes, the same pixels."""
    data = shared.photo(0)
    one, two = shared.numbered(data, 1), shared.numbered(data, 2)
    assert len({data, one, two}) == 3
    pixels = [Image.open(io.BytesIO(each)).tobytes() for each in (data, one, two)]
    assert pixels[0] == pixels[1] == pixels[2]
