"""Promises about `captiond export` and `import`: all texts out, corrections in, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond import sidecar, table
from captiond.sidecar import Record
from captiond.sidecar.plain import as_json
from daemon_process import Place, captiond

NASTY = [
    "=1+1", "+49 30 1234", "-5 degrees", "@home", "'quoted'", "''", '"double"; and, comma', "a\tb",
    "日本の犬 🐕", "1/2", "007", "TRUE",
]  # fmt: skip
SOFFICE = shutil.which("soffice") or shutil.which("libreoffice")


def record(caption: str, **fields: Any) -> Record:
    told = {
        "schema": "captiond/caption",
        "schema_version": 1,
        "caption": caption,
        "fields": fields,
        "source": {"path": "a.jpg", "sha256": "0" * 64, "bytes": 1},
        "published": {"sha256": "0" * 64},
        "model": {"id": "demo", "revision": None},
    }
    return sidecar.decode(as_json(told))


def back(text: str) -> list[table.Line]:
    return list(table.read(io.StringIO(text, newline="")))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(NASTY))
def test_a_cell_comes_back_exactly(text: str) -> None:
    """No cell begins as a formula does, and none is another afterwards."""
    assert not table.guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert table.bared(table.guarded(text)) == text


@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_what_went_out_changes_nothing(texts: list[str], is_csv: bool) -> None:
    """Neither as CSV nor as JSON lines, whatever the texts are."""
    told = [record(text, title=text, visible_text="") for text in texts]
    pictures = [table.Row(f"trip/{n}.jpg", one) for n, one in enumerate(told)]
    lines = back("".join((table.as_csv if is_csv else table.as_jsonl)(pictures)))
    assert [line.path for line in lines] == [row.path for row in pictures]
    assert all(not table.changes(line, one) for line, one in zip(lines, told, strict=True))


def test_odd_lines_are_named() -> None:
    """With their numbers; the others are read."""
    head = "path;published_sha256;title\r\n"
    lines = back(
        head + f"a.jpg;{'0' * 64};Rex\r\nb.jpg;{'0' * 64}\r\n../c.jpg;{'0' * 64};x\r\nd.jpg;12;x\r\n\r\n"
    )
    assert [(line.number, line.fault is None) for line in lines] == [
        (2, True),
        (3, False),
        (4, False),
        (5, False),
    ]
    assert lines[0].cells == {"title": "Rex"}
    with pytest.raises(table.Unreadable):
        back("name,title\r\na,b\r\n")
    lines = back('{"path": "a.jpg", "published_sha256": 5}\n{"title": 5\n[]\n')
    assert [line.fault is None for line in lines] == [False] * 3


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Two delivered pictures, without a daemon: only their files count."""
    import hashlib

    from PIL import Image

    place = Place(tmp_path)
    for number, name in enumerate(("a.jpg", "trip/b.jpg")):
        file = place.done / name
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20 + number, 20)).save(file)
        data = file.read_bytes()
        told = record("=A dog.", keywords=["dog", "sea"]).keys()
        told["source"] |= {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "format": "JPEG"}
        told["published"] = {"sha256": hashlib.sha256(data).hexdigest()}
        (place.done / f"{name}.caption.json").write_bytes(as_json(told))
    return place


def test_corrections_come_back_as_a_persons(place: Place, tmp_path: Path) -> None:
    """A dry run changes nothing; --yes does; what was changed meanwhile, or is over a limit, is refused."""
    out = captiond("export", "-c", place.settings).stdout
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [(row["path"], row["caption"], row["keywords"]) for row in rows] == [
        ("a.jpg", "'=A dog.", "dog; sea"),
        ("trip/b.jpg", "'=A dog.", "dog; sea"),
    ]
    assert len(captiond("export", "-c", place.settings, "--under", "trip").stdout.splitlines()) == 2
    file = tmp_path / "texts.csv"
    file.write_text(out.replace("dog; sea", "dog; Köln", 1), encoding="utf-8")
    before = (place.done / "a.jpg").read_bytes()
    dry = captiond("import", "-c", place.settings, file)
    assert (
        dry.returncode == 0 and "line 2 (a.jpg): keywords" in dry.stdout and "1 pictures would" in dry.stdout
    )
    assert (place.done / "a.jpg").read_bytes() == before
    assert captiond("import", "-c", place.settings, file, "--yes").returncode == 0
    told = place.sidecar("a.jpg")
    assert (told["caption"], told["fields"]) == ("=A dog.", {"keywords": ["dog", "Köln"]})
    assert (
        told["edited"]["model_fields"] == {"keywords": ["dog", "sea"]} and told["history"][0]["why"] == "edit"
    )
    assert "edited" not in place.sidecar("trip/b.jpg")
    again = captiond("import", "-c", place.settings, file, "--yes")
    assert again.returncode == 0 and "0 pictures" in again.stdout
    jsonl = tmp_path / "texts.jsonl"
    lines = [
        json.loads(line)
        for line in captiond("export", "-c", place.settings, "--format", "jsonl").stdout.splitlines()
    ]
    lines[0] |= {"published_sha256": "0" * 64, "caption": "Rex."}
    lines[1] |= {"title": "x" * 81}
    jsonl.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0] | {"path": "gone.jpg"}]))
    refused = captiond("import", "-c", place.settings, jsonl, "--yes")
    assert refused.returncode == 1
    for words in (
        "line 1 (a.jpg): the picture or its texts",
        "line 2 (trip/b.jpg): the title",
        "line 3 (gone.jpg)",
    ):
        assert words in refused.stderr
    assert place.sidecar("a.jpg") == told
    file.write_text("name,title\n")
    assert captiond("import", "-c", place.settings, file).returncode == 2


@pytest.mark.skipif(SOFFICE is None, reason="no LibreOffice on the PATH")
def test_a_spreadsheet_keeps_nasty_texts(tmp_path: Path) -> None:
    """Opened and saved by LibreOffice, all cells as text, each comes back as it was."""
    assert SOFFICE is not None
    told = [record(f"Text {text}", title=text) for text in NASTY]
    pictures = [table.Row(f"photos/{n}.jpg", one, "photos") for n, one in enumerate(told)]
    (tmp_path / "texts.csv").write_text("".join(table.as_csv(pictures)), encoding="utf-8", newline="")
    columns = "/".join(f"{number}/2" for number in range(1, len(table.COLUMNS) + 1))
    subprocess.run(
        [SOFFICE, f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless",
         f"--infilter=CSV:44,34,76,1,{columns}", "--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76",
         "--outdir", str(tmp_path / "out"), str(tmp_path / "texts.csv")],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    lines = back((tmp_path / "out" / "texts.csv").read_text(encoding="utf-8-sig"))
    assert [(line.path, line.library) for line in lines] == [(row.path, "photos") for row in pictures]
    assert all(not table.changes(line, one) for line, one in zip(lines, told, strict=True))
