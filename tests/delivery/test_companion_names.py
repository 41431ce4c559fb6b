"""Which files belong to a picture by their names, in small folders and in large ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivery_world import World
from hypothesis import given
from hypothesis import strategies as st

from captiond.inbox import neighbours
from captiond.records import Job
from captiond.sidecar.companions import Names, original_of, pictures_of, tails, tails_in

LONG = "a_very_long_name_that_somebody_gave_to_this_picture_2019.jpg"
BELONG = [
    ("photo.jpg", "photo.jpg.dop"),
    ("photo.jpg", "photo.jpg.pp3"),
    ("photo.jpg", "photo.jpg.out.pp3"),
    ("photo.jpg", "photo.jpg.arp"),
    ("photo.jpg", "photo.jpg.notes of mine.md"),
    ("photo.jpg", "photo.jpg.txt"),
    ("photo.jpg", "photo.jpg.json"),
    ("photo.jpg", "photo.on1"),
    ("photo.jpg", "photo.acr"),
    ("photo.jpg", "photo.vrd"),
    ("photo.jpg", "photo.DR4"),
    ("photo.jpg", "photo.jpg.nksc"),
    ("photo.jpg", "photo.spd"),
    ("photo.jpg", "photo.afphoto"),
    ("photo.jpg", "photo.WAV"),
    ("photo.jpg", "photo.THM"),
    ("photo.jpg", "photo.LRV"),
    ("GOPR0001.JPG", "GOPR0001.GPR"),
    ("photo.jpg", "photo.c2pa"),
    ("PXL_20230101_1.jpg", "PXL_20230101_1.MP"),
    ("PXL_20230101_1.MP.jpg", "PXL_20230101_1.MP"),
    ("MVIMG_20190101_1.jpg", "MVIMG_20190101_1.MP"),
    ("IMG_1234.HEIC", "IMG_O1234.AAE"),
    ("IMG_1234.HEIC", "IMG_1234.AAE"),
    ("photo.jpg", "._photo.jpg"),
    ("photo.jpg", "photo_01.jpg.xmp"),
    ("photo(1).jpg", "photo.jpg(1).json"),
    ("photo(1).jpg", "photo.jpg.supplemental-metadata(1).json"),
    ("photo(12).jpg", "photo.jpg.supplemen(12).json"),
    ("photo-edited.jpg", "photo.jpg.supplemental-metadata.json"),
    ("photo-edited.jpg", "photo.jpg.json"),
    ("photo-bearbeitet(1).jpg", "photo.jpg(1).json"),
    ("photo-modifie\u0301.jpg", "photo.jpg.json"),
    ("photo-ha editado.jpg", "photo.jpg.json"),
    ("photo-editat.jpg", "photo.jpg.json"),
    (LONG, LONG[:46] + ".json"),
    (LONG.replace(".jpg", "(1).jpg"), LONG[:46] + "(1).json"),
]  # fmt: skip
STRANGERS = [
    *(("photo.jpg", f"photo.jpg{suffix}") for suffix in neighbours._SUFFIXES),
    ("photo.jpg", "photo.jpg.ocTransferId123.part"),
    ("photo.jpg", "photo.jpg.1a2b3c4d.partial"),
    ("photo.jpg", "photo.jpg.tmp"),
    ("photo.jpg", "photo.jpg.bak"),
    ("photo.jpg", "photo.jpg~"),
    ("photo.jpg", "photo.jpg.caption.json"),
    ("photo.jpg", "photo.jpg.error.json"),
    ("photo.jpg", "photo.jpg.png"),
    ("photo.jpg", "photo.jpgx"),
    ("photo.jpg", "photo2.xmp"),
    ("photo.jpg", "photo"),
    ("photo.jpg", "photo.txt"),
    ("photo.jpg", "photo_01.png.xmp"),
    ("photo.jpg", "photo.jpg(1).json"),
    ("photo.jpg", "photo.jpg.supplemental-metadata(1).json"),
    ("photo(2).jpg", "photo.jpg(1).json"),
    ("photo.jpg", "photo-edited.jpg.json"),
    ("IMG_1235.HEIC", "IMG_O1234.AAE"),
]


def found(picture: str, *names: str, text: bool = False) -> list[str]:
    there = Names([picture, *names])
    return [tail.of(picture) for tail in tails_in(there, picture, text=text)]


@pytest.mark.parametrize(("picture", "name"), BELONG)
def test_it_belongs_to_the_picture(picture: str, name: str, tmp_path: Path) -> None:
    """It is found beside its picture, travels with it under its own name, and leads back to it."""
    assert found(picture, name, "other.jpg", "unrelated.xmp") == [name]
    world = World.at(tmp_path)
    world.drop_beside(name, b"{}")
    with world.opened() as delivery:
        world.caption(delivery, world.drop(picture))
    assert (world.done / name).read_bytes() == b"{}"
    assert not (world.inbox / name).exists()
    if not picture.startswith((LONG[:46], "photo-")):  # nobody knows what was cut off, or who was edited
        assert picture in pictures_of(name, ("jpg", "heic"), text=False)


@pytest.mark.parametrize(("picture", "name"), STRANGERS)
def test_it_does_not_belong_to_the_picture(picture: str, name: str) -> None:
    """What is unfinished, ours, a picture itself, or another picture's stays in the inbox."""
    assert found(picture, name) == []


def test_a_longer_name_takes_what_begins_with_it() -> None:
    """Of two pictures whose names begin alike, the one whose whole name it has is the owner."""
    names = ("photo.jpg.heic", "photo.jpg.heic.dop", "photo_01.jpg", "photo_01.jpg.xmp", "photo.jpg.dop")
    assert found("photo.jpg", *names) == ["photo.jpg.dop"]
    assert found("photo_01.jpg", *names, "photo.jpg") == ["photo_01.jpg.xmp"]


OF_A_RAW = [
    "photo.NEF.xmp",
    "photo.NEF.dop",
    "photo.NEF.out.pp3",
    "photo.NEF.nksc",
    "photo.NEF.json",
    "photo_01.NEF.xmp",
]


@pytest.mark.parametrize("name", OF_A_RAW)
def test_what_belongs_to_its_raw_travels_too(name: str, tmp_path: Path) -> None:
    """Edits of the RAW of a shot go where the RAW goes, under its new name, and lead back to the picture."""
    assert found("photo.jpg", "photo.NEF", name, "photo.NEF.tmp") == ["photo.NEF", name]
    assert found("photo.jpg", name) == []
    world = World.at(tmp_path)
    (world.done / "photo.NEF").write_bytes(b"another")
    world.drop_beside("photo.NEF", b"a raw file")
    world.drop_beside(name, b"{}")
    with world.opened() as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert len(list(world.done.glob(f"photo~*{name.removeprefix('photo')}"))) == 1
    assert not (world.inbox / name).exists()
    assert "photo.jpg" in pictures_of(name, ("jpg", "heic"), text=False)


def test_what_belongs_to_a_raw_that_stays_stays_with_it(tmp_path: Path) -> None:
    """If the settings leave the RAW alone, its edits are not taken away from it."""
    world = World.at(tmp_path)
    for name in ("photo.NEF", *OF_A_RAW):
        world.drop_beside(name, b"{}")
    with world.opened(stays=lambda path: path.endswith(".NEF")) as delivery:
        world.caption(delivery, world.drop("photo.jpg"))
    assert {"photo.NEF", *OF_A_RAW} <= {one.name for one in world.inbox.iterdir()}


@pytest.mark.parametrize("others", [3, 600])
def test_a_large_folder_is_no_different(others: int, tmp_path: Path) -> None:
    """Names that nobody can guess are found among many, too."""
    world = World.at(tmp_path)
    for number in range(others):
        world.drop_beside(f"unrelated {number:04} with a name that is long.txt", b"")
    beside = {"trip.jpg.of somebody", "trip_02.jpg.xmp", "._trip.jpg", "trip.jpg.supplemental-metadata.json"}
    for name in beside:
        world.drop_beside(name, b"{}")
    with world.opened() as delivery:
        world.caption(delivery, world.drop("trip.jpg"))
    assert beside <= {one.name for one in world.done.iterdir()}


def test_all_get_another_name_together(tmp_path: Path) -> None:
    """Where the picture's name is taken, companions of every form take the new one, and meet no stranger."""
    world = World.at(tmp_path)
    pictures = {picture for picture, name in BELONG}
    for picture in sorted(pictures):
        (world.done / picture).write_bytes(b"somebody's")
    for _, name in BELONG:
        world.drop_beside(name, b"{}")
    with world.opened() as delivery:
        for picture in sorted(pictures):
            world.caption(delivery, world.drop(picture))
    assert all((world.done / picture).read_bytes() == b"somebody's" for picture in pictures)
    assert not [one for one in world.inbox.iterdir() if one.is_file()]


def test_an_edited_twin_shares_what_takeout_says(tmp_path: Path) -> None:
    """The JSON goes with the original, and the twin's words are known from it as well."""
    world = World.at(tmp_path)
    world.drop_beside("photo.jpg.supplemental-metadata.json", b'{"description": "Anna"}')
    original, twin = world.drop("photo.jpg"), world.drop("photo-edited.jpg")
    with world.opened() as delivery:
        job = delivery.claim(twin)
        assert isinstance(job, Job)
        assert job.notes.takeout == (b'{"description": "Anna"}',)
        world.caption(delivery, original)
    assert (world.done / "photo.jpg.supplemental-metadata.json").exists()
    assert original_of("photo-edited(1).jpg") == "photo(1).jpg"
    assert original_of("edited.jpg") is None


@pytest.mark.parametrize("picture", ["photo.jpg", "trip/photo(1).jpg", "IMG_1234.HEIC", LONG, "PXL_1.MP.jpg"])
def test_no_two_files_share_a_given_name(picture: str) -> None:
    """Names that we give are one picture's and one companion's, whatever form the companion's name has."""
    stem, _, ending = picture.rpartition(".")
    given_names = [f"{stem}~{digest}.{ending}" for digest in ("1a2b3c4d", "5e6f7a8b", "1a2b3c4d-2")]
    made = {tail.of(name) for name in given_names for tail in tails(text=True)}
    assert len(made) == 3 * len(tails(text=True))
    assert not made & {picture, *given_names, *(tail.of(picture) for tail in tails(text=True))}


@given(
    st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), max_size=20), st.text(min_size=1)
)
def test_any_names_are_looked_through(names: list[str], picture: str) -> None:
    """Whatever files are called: nothing is raised, and what is found is there and is not the picture."""
    picture = picture.replace("/", "_") + ".jpg"
    names += [f"{picture}.{name}" for name in names[:5]]
    told = found(picture, *names, text=True)
    assert set(told) <= set(names) - {picture}
    assert len(told) == len(set(told))
    for name in names:
        list(pictures_of(name, ("jpg",), text=True))
