"""Captions in the files of real cameras and test suites: none is harmed, and as many written as by exiftool.

The files lie in the folder that CAPTIOND_IMAGES names; without it, in `shared/images` beside the repository.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from captiond.metadata import IPTC_TARGET, TARGET, XMP_TARGET

from .asking import describe
from .independent import Tags, exiftool_tags, is_exif, is_photoshop, is_xmp, needs_exiftool
from .judging import copied, counted, decodable, judged
from .making import CAPTION

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("CAPTIOND_IMAGES") or REPOSITORY.parent / "shared" / "images")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no images in {FOLDER}: set CAPTIOND_IMAGES")


@cache
def all_files() -> dict[str, tuple[str, Path]]:
    return decodable(FOLDER)


def originals(*formats: str) -> dict[str, bytes]:
    files = {name: path.read_bytes() for name, (format, path) in all_files().items() if format in formats}
    return files or pytest.skip(f"no {' or '.join(formats)} in {FOLDER}")


@cache
def tags_of(formats: tuple[str, ...]) -> dict[str, Tags]:
    """What exiftool sees in the originals."""
    with TemporaryDirectory() as folder:
        return exiftool_tags(copied(Path(folder), "old", originals(*formats)))


# The least part that must be written, by the kind of file; what is left must be refused.
LEAST = {("JPEG", "MPO"): 0.95, ("PNG",): 0.95, ("WEBP",): 0.95, ("TIFF",): 0.9}
LEAST_XMP = {("JPEG", "MPO"): 0.9, ("PNG",): 0.9, ("WEBP",): 0.9, ("TIFF",): 0.9}
TAGS = {
    TARGET: "IFD0:ImageDescription",
    XMP_TARGET: "XMP-dc:Description",
    IPTC_TARGET: "IPTC:Caption-Abstract",
}
CARRIERS = {TARGET: is_exif, XMP_TARGET: is_xmp, IPTC_TARGET: is_photoshop}
each_kind = pytest.mark.parametrize("formats", LEAST, ids="/".join)


def report(whose: str, verdicts: dict[str, str]) -> None:
    notable = (f"{name}: {verdict}" for name, verdict in verdicts.items() if verdict != "clean")
    print(f"{whose}: {dict(counted(verdicts))}", *notable, sep="\n  ")


@each_kind
def test_no_real_file_is_harmed(formats: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing but the description changes, and hardly a file is refused."""
    old = originals(*formats)
    described = {name: describe(data, formats[0], CAPTION, replace=True) for name, data in old.items()}
    for name, result in described.items():
        assert result.written[0].action == "wrote" or result.data is old[name]
        assert "unexpected" not in (result.written[0].reason or "")
    new = {name: result.data for name, result in described.items()}
    verdicts = judged(old, tags_of(formats), copied(tmp_path, "new", new))
    report("ours", verdicts)
    assert set(counted(verdicts)) <= {"clean", "refused"}
    assert counted(verdicts)["clean"] >= LEAST[formats] * len(old)


@pytest.mark.long
@each_kind
@pytest.mark.parametrize("blocks", [("exif", "xmp", "iptc"), "auto"], ids=["all", "auto"])
def test_no_real_file_is_harmed_by_more_blocks(
    formats: tuple[str, ...], blocks: str | tuple[str, ...], tmp_path: Path
) -> None:
    """Nothing but the descriptions in EXIF, XMP and IPTC changes, and they are refused independently."""
    old = originals(*formats)
    described = {
        name: describe(data, formats[0], CAPTION, replace=True, blocks=blocks) for name, data in old.items()
    }
    carriers = {}
    for name, result in described.items():
        written = [one.target for one in result.written if one.action == "wrote"]
        assert bool(written) == (result.data is not old[name])
        assert not any("unexpected" in (one.reason or "") for one in result.written)
        assert describe(result.data, formats[0], CAPTION, replace=True, blocks=blocks).data is result.data
        carriers[name] = {TAGS[target]: CARRIERS[target] for target in written}
    new = {name: result.data for name, result in described.items()}
    verdicts = judged(old, tags_of(formats), copied(tmp_path, "new", new), carriers)
    report("ours", verdicts)
    assert set(counted(verdicts)) <= {"clean", "refused"}
    for target in (TARGET,) if blocks == "auto" else (TARGET, XMP_TARGET):
        assert sum(TAGS[target] in tags for tags in carriers.values()) >= LEAST_XMP[formats] * len(old)


@needs_exiftool
@each_kind
def test_exiftool_writes_no_more_files(formats: tuple[str, ...], tmp_path: Path) -> None:
    """Of the same files, exiftool writes no larger part without harm."""
    old = originals(*formats)
    ours = [
        name
        for name, data in old.items()
        if describe(data, formats[0], CAPTION, replace=True).data is not data
    ]
    folder = copied(tmp_path, "new", old)
    options = ["-q", "-q", "-P", "-overwrite_original", "-api", "NoMandatory=1", "-charset", "exif=UTF8"]
    command = ["exiftool", *options, f"-IFD0:ImageDescription={CAPTION}", str(folder)]
    subprocess.run(command, capture_output=True, check=False)
    verdicts = judged(old, tags_of(formats), folder)
    report("exiftool's", verdicts)
    assert len(ours) >= counted(verdicts)["clean"] + counted(verdicts)["with invented tags"]
