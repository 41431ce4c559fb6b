"""What is in a folder, who holds a file, what lies on which mount: one look at a time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from captiond.inbox import mounts
from captiond.inbox.finding import Kind
from captiond.inbox.ignore import Ignore
from captiond.inbox.look import look_into
from captiond.inbox.neighbours import calls_of
from captiond.inbox.scan import list_folder, look_at
from captiond.records import Fingerprint
from captiond.support.lease import Writer, writer_of
from inbox.making import PNG


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def look(root: int, path: Path) -> Kind:
    return look_into(root, path.name, Fingerprint.of(path.lstat()), trust_leases=True).kind


def test_a_folder_is_listed_as_it_is(root: int, tmp_path: Path) -> None:
    """Images by name are told, folders too, everything else is ignored; nothing is opened or followed."""
    (tmp_path / "a.jpg").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "trip").mkdir()
    (tmp_path / ".captiond").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "linked").symlink_to("/usr")
    (tmp_path / "dead.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.jpg")
    listing = list_folder(root, "", Ignore())
    assert listing is not None
    assert listing.images == ["a.jpg"]
    assert listing.folders == ["trip"]
    assert listing.ignored == {"notes.txt", "link.jpg", "linked", "dead.jpg", "fifo.jpg", ".git"}


def test_any_name_survives_the_scan(root: int, tmp_path: Path) -> None:
    """Names that are not UTF-8, with line breaks, of 255 bytes can be given back to the kernel unchanged."""
    names = [b"\xff\xfe.jpg", b"a\nb\t'\".jpg", b"x" * 251 + b".jpg", "é.jpg".encode(), b" .jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(PNG)
    listing = list_folder(root, "", Ignore())
    assert listing is not None
    assert sorted(map(os.fsencode, listing.images)) == sorted(names)
    for _, status in look_at(root, "", listing.images):
        assert status is not None


def test_a_folder_behind_a_link_is_not_there(root: int, tmp_path: Path) -> None:
    """A link in the place of a folder leads nowhere, also in the middle of a path."""
    (tmp_path / "out").symlink_to("/")
    assert list_folder(root, "out", Ignore()) is None
    assert list_folder(root, "out/usr", Ignore()) is None
    assert look_at(root, "out", ["usr"]) == [("usr", None)]


def test_a_vanished_folder_is_no_trouble(root: int) -> None:
    """A folder that is gone when its turn comes is simply not there."""
    assert list_folder(root, "gone", Ignore()) is None
    assert look_at(root, "gone", ["a.jpg"]) == [("a.jpg", None)]


def test_folders_that_vanish_meanwhile(root: int, tmp_path: Path) -> None:
    """Folders and files that come and go while they are listed do no harm."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for number in range(20):
                folder = tmp_path / f"f{number}"
                folder.mkdir()
                (folder / "a.jpg").write_bytes(PNG)
            for number in range(20):
                (tmp_path / f"f{number}" / "a.jpg").unlink()
                (tmp_path / f"f{number}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(200):
            for number in range(20):
                list_folder(root, f"f{number}", Ignore())
            list_folder(root, "", Ignore())
    finally:
        stop.set()
        thread.join()


def test_a_writer_is_noticed(tmp_path: Path) -> None:
    """A file is held exactly as long as somebody has it open for writing."""
    path = tmp_path / "a.jpg"
    path.write_bytes(PNG)
    with path.open("rb") as reader:
        assert writer_of(reader.fileno()) is Writer.NOBODY
        with path.open("ab"):
            assert writer_of(reader.fileno()) is Writer.SOMEBODY
        assert writer_of(reader.fileno()) is Writer.NOBODY
        with path.open("rb"):
            assert writer_of(reader.fileno()) is Writer.NOBODY


def test_asking_leaves_no_lease(tmp_path: Path) -> None:
    """After the question a writer may open the file without waiting for us."""
    path = tmp_path / "a.jpg"
    path.write_bytes(PNG)
    with path.open("rb") as reader:
        writer_of(reader.fileno())
        assert fcntl.fcntl(reader, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        began = time.monotonic()
        path.open("ab").close()
        assert time.monotonic() - began < 1.0


BREAKS_A_LEASE = """
import fcntl, os, sys, threading, time
from captiond.support import lease
path = sys.argv[1]
reader = os.open(path, os.O_RDONLY)
real = fcntl.fcntl
def slow(descriptor, command, argument):
    if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
        time.sleep(0.3)  # the writer comes now
    return real(descriptor, command, argument)
lease.fcntl.fcntl = slow
threading.Timer(0.1, lambda: os.close(os.open(path, os.O_WRONLY))).start()
assert lease.writer_of(reader) is lease.Writer.NOBODY
time.sleep(0.2)
"""


def test_a_writer_that_comes_while_we_ask_does_not_kill_us(tmp_path: Path) -> None:
    """The kernel's signal to the holder of a lease, which by default ends a process, does us no harm."""
    path = tmp_path / "a.jpg"
    path.write_bytes(PNG)
    done = subprocess.run([sys.executable, "-c", BREAKS_A_LEASE, str(path)], timeout=20, check=False)
    assert done.returncode == 0, signal.Signals(-done.returncode) if done.returncode < 0 else done.returncode


def test_a_look_tells_what_became_of_a_quiet_file(root: int, tmp_path: Path) -> None:
    """Whole, changed, held, cut short, gone: each is told apart."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    assert look(root, path) is Kind.WHOLE
    with path.open("ab"):
        assert look(root, path) is Kind.HELD
    before = Fingerprint.of(path.lstat())
    path.write_bytes(PNG[:-5])
    assert look_into(root, "a.png", before, trust_leases=True).kind is Kind.CHANGED
    assert look(root, path) is Kind.PARTIAL
    path.unlink()
    assert look_into(root, "a.png", before, trust_leases=True).kind is Kind.GONE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_where_the_kernel_does_not_say_nobody_is_not_the_answer(root: int, tmp_path: Path) -> None:
    """Of another user's file the kernel says nothing: that is neither somebody nor nobody."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    path.chmod(0o644)
    script = (
        "import os, sys; from captiond.support.lease import writer_of; "
        "print(writer_of(os.open(sys.argv[1], os.O_RDONLY)).name)"
    )
    tmp_path.chmod(0o755)
    asking = os.open(path, os.O_RDONLY)
    try:
        as_nobody = [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(sys.executable, "-c", script, f"/proc/self/fd/{asking}"),
        ]
        said = subprocess.run(as_nobody, capture_output=True, text=True, pass_fds=[asking], check=True)
        keeping = [*as_nobody[:4], "--inh-caps=+lease", "--ambient-caps=+lease", *as_nobody[4:]]
        may_ask = subprocess.run(keeping, capture_output=True, text=True, pass_fds=[asking], check=False)
    finally:
        os.close(asking)
    assert said.stdout.strip() == "UNTOLD"
    if may_ask.returncode == 0:
        assert may_ask.stdout.strip() == "NOBODY", "with CAP_LEASE the kernel says it to anybody"
    untold = look_into(root, "a.png", Fingerprint.of(path.lstat()), trust_leases=False)
    assert untold.kind is Kind.WHOLE and untold.untold
    assert not look_into(root, "a.png", Fingerprint.of(path.lstat()), trust_leases=True).untold


NEIGHBOURS = {
    "a.png.aria2": "aria2",
    "a.png.part": "a program that downloads or copies",
    "a.png.st": "Axel",
    "a.png.lftp-pget-status": "lftp",
    "a.png.!ut": "µTorrent",
    "a.png.!qB": "qBittorrent",
    "a.png.tacitpart": "FolderSync",
    "a.png.crdownload": "Chrome",
    "a.png.filepart": "WinSCP",
    "a.png.partial": "a program that downloads or copies",
    "a.png.1a2b3c4d.partial": "rclone",
    "a.png.download": "Safari",
    "a.png.ocTransferId1234567.part": "Nextcloud or ownCloud",
    "a.png.ocTransferId9f3ac0.part": "Nextcloud or ownCloud",
    "a.png.PART": "a program that downloads or copies",
    "a.png.ARIA2": "aria2",
    "a.png.bc!": "BitComet",
    "a.png.!bt": "BitTorrent",
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_a_neighbour_that_says_unfinished_is_believed(root: int, tmp_path: Path, neighbour: str) -> None:
    """A whole file beside which a control file or a part of it lies is unfinished; it is said who says so."""
    (tmp_path / "trip").mkdir()
    path = tmp_path / "trip/a.png"
    path.write_bytes(PNG)
    (tmp_path / "trip" / neighbour).touch()
    seen = frozenset({neighbour})
    found = look_into(root, "trip/a.png", Fingerprint.of(path.lstat()), trust_leases=True, beside=seen)
    assert found.kind is Kind.UNFINISHED
    assert found.reason == f"{neighbour} beside it says that {NEIGHBOURS[neighbour]} has not finished"
    (tmp_path / "trip" / neighbour).unlink()
    again = look_into(root, "trip/a.png", Fingerprint.of(path.lstat()), trust_leases=True, beside=seen)
    assert again.kind is Kind.WHOLE, "what was seen earlier is not there any more"


@pytest.mark.parametrize(
    "neighbour",
    ["a.jpg.part", "a.part", "b.png.aria2", "a.png.xmp", "a.png.json", ".part", "a.png~", "a.png.bak"],
)
def test_other_neighbours_say_nothing(root: int, tmp_path: Path, neighbour: str) -> None:
    """What belongs to another file, or travels with it, holds nothing up."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    (tmp_path / neighbour).touch()
    assert look(root, path) is Kind.WHOLE
    assert not calls_of(root, "a.png")


def test_names_of_full_length_have_no_neighbours(root: int, tmp_path: Path) -> None:
    """A name to which nothing can be appended is looked into like any other."""
    path = tmp_path / ("x" * 251 + ".png")
    path.write_bytes(PNG)
    assert look(root, path) is Kind.WHOLE


def test_what_no_time_will_mend_is_told(root: int, tmp_path: Path) -> None:
    """A page under a picture's name, and a picture of more parts than a look may follow, are faulty."""
    page = tmp_path / "a.jpg"
    page.write_bytes(b"<html>404</html>\n")
    found = look_into(root, "a.jpg", Fingerprint.of(page.lstat()), trust_leases=True)
    assert found.kind is Kind.FAULTY and found.fault is not None
    assert found.fault.message == "it is an HTML page, not a picture"
    page.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0teXtcrc " * 100_000)
    found = look_into(root, "a.jpg", Fingerprint.of(page.lstat()), trust_leases=True)
    assert found.kind is Kind.FAULTY and found.fault is not None and found.fault.kind == "too_complex"


def test_a_fifo_in_the_place_of_a_file_does_not_block(root: int, tmp_path: Path) -> None:
    """What was swapped for a FIFO, a folder or a link after it was seen is not read."""
    before = Fingerprint(0, 0, 0, 0, 0)
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("/dev/zero")
    for name in ("fifo.jpg", "folder.jpg", "link.jpg"):
        assert look_into(root, name, before, trust_leases=True).kind is Kind.GONE


def test_a_file_that_may_not_be_read_is_told(root: int, tmp_path: Path) -> None:
    """It is said who may not read it."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    path.chmod(0)
    tmp_path.chmod(0o755)
    fingerprint = Fingerprint.of(path.lstat())
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # root may read everything
    try:
        found = look_into(root, "a.png", fingerprint, trust_leases=True)
    finally:
        os.seteuid(before)
    assert found.kind is Kind.UNREADABLE
    assert found.reason.startswith("may not be read by user ")


MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /srv/my\\040inbox rw,relatime shared:1 - cifs //nas/inbox rw
24 22 0:22 / /srv/fuse rw - fuse.sshfs host: rw
25 22 0:23 / /srv/old rw - ext4 /dev/vdb rw
26 22 0:24 / /srv/old rw - nfs4 nas:/old rw
"""

FSTAB = """\
# comment
/dev/vda / ext4 defaults 0 1
//nas/inbox /srv/my\\040inbox cifs defaults 0 0
nas:/new /srv/new nfs defaults 0 0
"""


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    (tmp_path / "fstab").write_text(FSTAB)
    return tmp_path / "mountinfo", tmp_path / "fstab"


@pytest.mark.parametrize(
    ("folder", "filesystem", "silent"),
    [
        ("/srv/local", "ext4", False),
        ("/srv/my inbox/deep", "cifs", True),
        ("/srv/my inbox2", "ext4", False),
        ("/srv/fuse", "fuse.sshfs", True),
        ("/srv/old", "nfs4", True),
    ],
)
def test_file_systems_without_events_are_known(
    system: tuple[Path, Path], folder: str, filesystem: str, silent: bool
) -> None:
    """Shares are told from local disks; of mounts on top of each other, the last one counts."""
    assert mounts.filesystem_of(Path(folder), system[0]) == filesystem
    assert mounts.is_silent(filesystem) is silent


def test_a_bare_mount_point_of_fstab_is_known(system: tuple[Path, Path]) -> None:
    """A folder that fstab wants something mounted on, with nothing there, is not taken for an inbox."""
    mountinfo, fstab = system
    assert mounts.is_waiting_for_its_mount(Path("/srv/new/inbox"), fstab, mountinfo)
    assert not mounts.is_waiting_for_its_mount(Path("/srv/my inbox"), fstab, mountinfo)
    assert not mounts.is_waiting_for_its_mount(Path("/srv/local"), fstab, mountinfo)


def test_the_system_tells_where_we_are(tmp_path: Path) -> None:
    """The mount of a real folder is found."""
    assert mounts.filesystem_of(tmp_path) is not None
    assert not mounts.is_waiting_for_its_mount(tmp_path)
