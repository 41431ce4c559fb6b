"""What the sample folder promises: a dozen pictures in many formats, each with its right caption."""

from pathlib import Path

import pytest
from PIL import Image, ImageOps

from captiond.demo.samples import write_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def test_samples_come_in_many_formats(folder: Path) -> None:
    """JPEG, PNG, WebP, TIFF, GIF and BMP always, some in a sub-folder, and all of them open."""
    samples = write_samples(folder)
    assert len(samples) >= 10
    assert {sample.path for sample in samples} == {path for path in folder.rglob("*") if path.is_file()}
    assert any(sample.path.parent != folder for sample in samples)
    formats = set()
    for sample in samples:
        with Image.open(sample.path) as picture:
            picture.load()
            formats.add(picture.format)
    assert formats >= {"JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"}


def test_the_same_seed_writes_the_same_samples(tmp_path: Path) -> None:
    """Two runs name the same files with the same captions; another seed has other captions."""

    def run(name: str, seed: int) -> list[tuple[str, str]]:
        samples = write_samples(tmp_path / name, seed)
        return [(sample.path.relative_to(tmp_path / name).as_posix(), sample.caption) for sample in samples]

    assert run("one", 5) == run("two", 5)
    assert [caption for _, caption in run("one", 5)] != [caption for _, caption in run("three", 6)]


def test_one_sample_is_turned_and_one_has_tags(tmp_path: Path) -> None:
    """A JPEG with orientation 6 is upright, 640x480, once turned; another carries somebody's EXIF already."""
    samples = {sample.path.name: sample for sample in write_samples(tmp_path)}
    with Image.open(samples["scene-03-turned.jpg"].path) as picture:
        assert picture.getexif()[0x0112] == 6
        assert picture.size == (480, 640)
        assert ImageOps.exif_transpose(picture).size == (640, 480)
    with Image.open(samples["scene-02.jpg"].path) as picture:
        assert picture.getexif()[0x013B] == "Somebody"
