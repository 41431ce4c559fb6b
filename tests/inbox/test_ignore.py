"""Names, and the rules that leave them alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.inbox.ignore import IMAGE_EXTENSIONS, NOT_AN_IMAGE, Ignore

TEMPORARY = {
    "photo.jpg.crdownload": "unfinished download of a browser",
    "Unconfirmed 12345.crdownload": "unfinished download of a browser",
    "photo.jpg.part": "unfinished download of a browser",
    "photo.jpg.ocTransferId1234567.part": "unfinished upload to Nextcloud or ownCloud",
    "photo.jpg.aria2": "unfinished download",
    "photo.jpg.lftp-pget-status": "unfinished download",
    "photo.jpg.!qB": "unfinished download",
    "photo.jpg.tacitpart": "temporary name of FolderSync",
    "~syncthing~photo.jpg": "temporary name of Syncthing",
    "photo.jpg.opdownload": "unfinished download of a browser",
    ".photo.jpg.aB3xY9": "temporary name of rsync",
    ".syncthing.photo.jpg.tmp": "temporary name of Syncthing",
    "~syncthing~photo.jpg.tmp": "temporary name of Syncthing",
    ".photo.jpg.~1a2b3c": "temporary name of Nextcloud or ownCloud",
    "._sync_0a1b.db": "temporary name of Nextcloud or ownCloud",
    "~$photo.jpg": "lock of an office program",
    ".~lock.photo.jpg#": "lock of an office program",
    ".#photo.jpg": "lock or autosave of Emacs",
    "#photo.jpg#": "lock or autosave of Emacs",
    ".photo.jpg.swp": "swap or backup file of an editor",
    "photo.jpg~": "swap or backup file of an editor",
    ".DS_Store": "folder view of macOS",
    "._photo.jpg": "companion file of macOS (AppleDouble)",
    "Thumbs.db": "folder view of Windows",
    "desktop.ini": "folder view of Windows",
    ".nfs000000000123": "deleted but open file on NFS",
    "photo.jpg.tmp": "temporary name",
    "photo.jpg.temp": "temporary name",
    "photo.jpg.filepart": "temporary name",
    "photo.jpg.partial": "temporary name",
    ".photo.jpg": "hidden name",
    "notes.txt": NOT_AN_IMAGE,
    "jpg": NOT_AN_IMAGE,
    "photo.jpg.caption.json": NOT_AN_IMAGE,
    "movie.mp4": NOT_AN_IMAGE,
    "photo.jpg ": NOT_AN_IMAGE,
}

FOLDERS = {
    ".captiond": "captiond's own folder",
    "@eaDir": "thumbnails of a NAS box",
    "#recycle": "recycle bin",
    "@Recycle": "recycle bin",
    "@Recently-Snapshot": "snapshots of what lies elsewhere",
    "~snapshot": "snapshots of what lies elsewhere",
    "#snapshot": "snapshots of what lies elsewhere",
    ".snapshot": "snapshots of what lies elsewhere",
    ".zfs": "snapshots of what lies elsewhere",
    "@GMT-2026.11.29-10.00.00": "snapshots of what lies elsewhere",
    "My Catalog Previews.lrdata": "previews of Lightroom",
    "My Catalog Smart Previews.lrdata": "previews of Lightroom",
    "appdata_oc1a2b3c4d5e": "previews of Nextcloud",
    "~syncthing~trip": "folder of Syncthing",
    ".Trash-1000": "recycle bin",
    "$RECYCLE.BIN": "recycle bin",
    ".stfolder": "folder of Syncthing",
    ".stversions": "folder of Syncthing",
    ".git": "folder of a version control system",
    "lost+found": "folder of the system",
    "photo.jpg.download": "unfinished download",
    ".anything": "hidden folder",
}


@pytest.mark.parametrize("extension", sorted(IMAGE_EXTENSIONS))
def test_every_image_extension_is_taken(extension: str) -> None:
    """An image's name is taken in any case, with blanks, dots and any letters before its extension."""
    ignore = Ignore()
    for name in (f"a.{extension}", f"B c.d.{extension.upper()}", f"Ünï\udcff\n.{extension.title()}"):
        assert ignore.rule(name) is None
        assert ignore.rule(f"trip/day 1/{name}") is None


@pytest.mark.parametrize(("name", "rule"), TEMPORARY.items())
def test_temporary_names_are_left_alone(name: str, rule: str) -> None:
    """Names that programs give to what is not finished, or not an image, are ignored, and it is said why."""
    assert Ignore().rule(f"trip/{name}") == rule


@pytest.mark.parametrize(("folder", "rule"), FOLDERS.items())
def test_folders_of_other_programs_are_left_alone(folder: str, rule: str) -> None:
    """Whatever lies in another program's folder is ignored, however deep."""
    ignore = Ignore()
    assert ignore.folder(folder, f"trip/{folder}") == rule
    assert ignore.rule(f"trip/{folder}/deep/photo.jpg") == rule


@pytest.mark.parametrize("library", ["My.photoslibrary", "trip/Old Photos.photolibrary", "a.aplibrary"])
def test_of_a_photo_library_only_what_a_person_put_in(library: str) -> None:
    """What Photos made from the originals is nobody's picture; the originals are somebody's."""
    ignore = Ignore()
    for folder in (
        "resources/derivatives/1",
        "resources/renders",
        "Thumbnails/2026",
        "Previews",
        "private/x",
    ):
        assert ignore.rule(f"{library}/{folder}/a.jpg") == "thumbnails and edits of a photo library of macOS"
    for folder in ("originals/1", "Masters/2026/11", "originals/resources"):
        assert ignore.rule(f"{library}/{folder}/a.jpg") is None
    assert ignore.rule("resources/a.jpg") is ignore.rule("My.photoslibrary.zip/x/a.jpg") is None


@pytest.mark.parametrize("pattern", ["draft_*", "*/draft_?.jpg", "trip/*", "trip", "trip/", "*.jpg"])
def test_own_patterns_match_name_and_path(pattern: str) -> None:
    """A user's pattern is held against the name, the path and the folders on the way, and is named."""
    assert Ignore([pattern]).rule("trip/draft_1.jpg") == f"your pattern {pattern!r}"
    assert Ignore([pattern]).rule("other/photo.png") is None


@given(st.text(max_size=30).filter(lambda name: "/" not in name and "\0" not in name))
def test_the_quick_answer_agrees_with_the_reason(name: str) -> None:
    """A scan skips exactly the files for which there is a rule to name."""
    for ignore in (Ignore(), Ignore(["a*"])):
        assert ignore.skips_file(name, name) == (ignore.file(name, name) is not None)
