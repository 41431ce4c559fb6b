"""What phones and photo managers put beside a picture goes where the picture goes: the whole daemon."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import jsonschema

from captiond.sidecar.schema import json_schema
from daemon_process import Place, captiond
from faults.load import files_in, loaded, picture

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF>'
    b"</x:xmpmeta>"
)
ALT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def test_a_live_photo_with_its_edits_travels_as_one(tmp_path: Path) -> None:
    """Photo, film, edits and .xmp wait for each other, and lie in done/ together, the caption in the .xmp."""
    output = {"xmp_sidecar": "always", "text_sidecar": True}
    with loaded(tmp_path, output=output) as load, load.running() as daemon:
        place = load.place

        def explained(path: str | Path) -> str:
            return captiond("explain", "-c", place.settings, path).stdout

        with (place.inbox / "photo.MOV").open("wb") as film:
            film.write(b"the beginning")
            film.flush()
            place.drop(XMP, "photo.jpg.xmp")
            place.drop(b"an edit", "photo.AAE")
            name, data = load.make("photo.jpg")
            place.drop(data, name)
            daemon.until(lambda: '"later"' in daemon.log())
            assert "a companion of photo.jpg" in explained("photo.AAE")
            daemon.until(lambda: "photo.MOV, which travels with it" in explained("photo.jpg.xmp"))
            film.write(b" and the end")
        daemon.until(lambda: not place.left_in_inbox())
        assert files_in(place.done) == {
            "photo.AAE",
            "photo.MOV",
            "photo.jpg",
            "photo.jpg.caption.json",
            "photo.jpg.xmp",
            "photo.txt",
        }
        assert "came along" in explained("photo.AAE")
        assert "belongs to" in explained(place.done / "photo.txt")
        said = [json.loads(line) for line in daemon.log().splitlines() if '"later"' in line]
        assert said and all(one["reason"] != next["reason"] for one, next in pairwise(said))
    assert (place.done / "photo.MOV").read_bytes() == b"the beginning and the end"
    assert (place.done / "photo.txt").read_text() == load.captions[name] + "\n"
    record = place.sidecar(name)
    jsonschema.validate(record, json_schema())
    assert {one["name"]: one["action"] for one in record["companions"]} == {
        "photo.AAE": "moved",
        "photo.MOV": "moved",
        "photo.jpg.xmp": "merged",
    }
    merged = ElementTree.fromstring((place.done / "photo.jpg.xmp").read_bytes())
    assert [item.text for item in merged.iter(ALT)] == [load.captions[name]] * 2  # dc: and tiff:
    assert b'xmp:Rating="4"' in (place.done / "photo.jpg.xmp").read_bytes()
    assert {one["target"]: one["action"] for one in record["written"]} == {
        "exif:ImageDescription": "wrote",
        "xmp-sidecar:dc:description": "wrote",
        "text-sidecar": "wrote",
    }
    load.check_delivered(name)


def test_without_a_daemon_a_companion_is_known_as_one(tmp_path: Path) -> None:
    """`explain` tells whose companion a file is, and of one without a picture that it is alone."""
    with loaded(tmp_path) as load:
        load.place.drop(b"an edit", "photo.AAE")
        load.place.drop(b"an edit", "alone.AAE")
        load.place.drop(b"a picture", "photo.jpg")
        answers = [
            captiond("explain", "-c", load.place.settings, f"{n}.AAE").stdout for n in ("photo", "alone")
        ]
    assert "a companion of photo.jpg" in answers[0]
    assert "no picture that it may travel with" in answers[1]


def test_takeouts_cut_names_are_explained(place: Place) -> None:
    """A name that was cut short, or is an original's, tells its picture to whoever looks beside it."""
    jpeg = picture(5_000)[0]
    long = "a holiday by the sea with everybody who was there in 2019"
    place.drop(b"{}", f"{long[:46]}.json")
    place.drop(b"{}", "photo.jpg.json")
    explained = [
        captiond("explain", "-c", place.settings, name).stdout
        for name in (f"{long[:46]}.json", "photo.jpg.json")
    ]
    assert "not an image" in explained[0] and "no picture that it may travel with" in explained[1]
    place.drop(jpeg, f"{long}.jpg")
    place.drop(jpeg[:-2] + b" \xff\xd9", "photo-edited.jpg")
    for name, whose in ((f"{long[:46]}.json", f"{long}.jpg"), ("photo.jpg.json", "photo-edited.jpg")):
        assert f"a companion of {whose}" in captiond("explain", "-c", place.settings, name).stdout
    assert place.once().returncode == 0
    for name in (f"{long[:46]}.json", "photo.jpg.json"):
        assert "It came along with" in captiond("explain", "-c", place.settings, name).stdout
