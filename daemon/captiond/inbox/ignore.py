"""From a name to the rule that leaves it alone, or to None: pure, no I/O.

A name is an image's if its extension says so and nothing marks it as temporary.  Everything else stays
in the inbox untouched, and these rules are the words in which `explain` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from captiond import formats
from captiond.support.patterns import Patterns

IMAGE_EXTENSIONS = formats.served_endings()

NOT_AN_IMAGE = "not an image by its name"

# Words for people; each line is tried in order on a name that `_is_image` turned down.
_FILE_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), rule)
    for pattern, rule in (
        (r".+\.ocTransferId[^.]+\.part\Z", "unfinished upload to Nextcloud or ownCloud"),
        (r".+\.(crdownload|part|download|opdownload)\Z", "unfinished download of a browser"),
        (r".+\.(aria2|st|lftp|lftp-pget-status|!ut|!qb|!bt|bc!)\Z", "unfinished download"),
        (r".+\.tacitpart\Z", "temporary name of FolderSync"),
        (r"~syncthing~|\.syncthing\..+\.tmp\Z", "temporary name of Syncthing"),
        (
            r"\..+\.~[0-9a-f]+\Z|\._sync_|\.sync_.+\.db|\.owncloudsync",
            "temporary name of Nextcloud or ownCloud",
        ),
        (r"\._|\.AppleDouble\Z", "companion file of macOS (AppleDouble)"),
        (r"\.DS_Store\Z|Icon\r\Z|\.localized\Z", "folder view of macOS"),
        (r"(thumbs|ehthumbs|ehthumbs_vista)\.db\Z|desktop\.ini\Z", "folder view of Windows"),
        (r"~\$|\.~lock\..*#\Z", "lock of an office program"),
        (r"\.#|#.*#\Z", "lock or autosave of Emacs"),
        (r"\..*\.sw[a-px]\Z|4913\Z|.+~\Z", "swap or backup file of an editor"),
        (r"\.nfs[0-9a-f]+\Z", "deleted but open file on NFS"),
        (r"\..+\.[0-9a-z]{6}\Z", "temporary name of rsync"),
        (r".+\.(tmp|temp|filepart|partial|incomplete|inprogress|uploading|lock|swp|bak)\Z", "temporary name"),
        (r"\.", "hidden name"),
    )
)

_FOLDER_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), rule)
    for pattern, rule in (
        (r"\.captiond\Z", "captiond's own folder"),
        (r"@eaDir\Z|@__thumb\Z|\.@__thumb\Z|\.thumbnails\Z|@tmp\Z", "thumbnails of a NAS box"),
        (
            r"#recycle\Z|@Recycle\Z|@Recently-Deleted\Z|\$RECYCLE\.BIN\Z|RECYCLED?\Z|RECYCLER\Z|\.Trash|\.recycle\Z",
            "recycle bin",
        ),
        (
            r"[@~#.]snapshots?\Z|@Recently-Snapshot\Z|@sharesnap\Z|\.zfs\Z|\.ckpt\Z|@GMT-[0-9.-]{19}\Z",
            "snapshots of what lies elsewhere",
        ),
        (r"lost\+found\Z|System Volume Information\Z", "folder of the system"),
        (r"iPod Photo Cache\Z", "thumbnails of iTunes"),
        (r".+\.lrc?data\Z", "previews of Lightroom"),
        (r"appdata_oc[0-9a-z]{10}\Z", "previews of Nextcloud"),
        (r"\.stfolder|\.stversions\Z|~syncthing~|\.syncthing\.", "folder of Syncthing"),
        (r"\.git\Z|\.svn\Z|\.hg\Z", "folder of a version control system"),
        (r"\.AppleDouble\Z|__MACOSX\Z", "companion folder of macOS"),
        (r".+\.(download|crdownload|part|tmp|partial)\Z", "unfinished download"),
        (r"\.", "hidden folder"),
    )
)


# Of a library of macOS's Photos, iPhoto or Aperture only what a person put in: all else is made from it.
_LIBRARY = re.compile(
    r"(?:.*/)?[^/]+\.(?:photoslibrary|photolibrary|migratedphotolibrary|aplibrary)/([^/]+)\Z",
    re.IGNORECASE | re.DOTALL,
)
_ORIGINALS = frozenset({"originals", "masters"})
_LIBRARY_RULE = "thumbnails and edits of a photo library of macOS"


class Ignore:
    """The built-in rules, and those of the settings.

    `patterns` are a .gitignore's; `skips` names the rule by which the settings leave a file alone otherwise.
    `beneath`: a prefix for every path before the settings see it.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        skips: Callable[[str], str | None] | None = None,
        *,
        beneath: str = "",
    ) -> None:
        self._patterns = Patterns(patterns)
        self._skips = skips
        self._beneath = beneath

    def file(self, name: str, path: str) -> str | None:
        """The rule that leaves the file `path` alone, whose last part is `name`."""
        if not _is_image(name):
            return _first(_FILE_RULES, name) or NOT_AN_IMAGE
        return self._by_settings(path)

    def folder(self, name: str, path: str) -> str | None:
        """The rule that keeps us out of the folder `path`, whose last part is `name`."""
        if rule := _first(_FOLDER_RULES, name):
            return rule
        if (library := _LIBRARY.match(path)) and library[1].lower() not in _ORIGINALS:
            return _LIBRARY_RULE
        return self._by_pattern(f"{path}/")

    def is_asked_for(self, path: str) -> bool:
        """Whether the settings leave the file `path` alone."""
        return self._by_settings(path) is not None

    def skips_file(self, name: str, path: str) -> bool:
        """Whether any rule leaves this file alone, without finding out which: for scans."""
        return not _is_image(name) or self._by_settings(path) is not None

    def folders_above(self, path: str) -> str | None:
        """The rule that keeps us out of one of the folders that `path` lies in."""
        end = path.find("/")
        while end != -1:
            folder = path[:end]
            if rule := self.folder(folder.rpartition("/")[2], folder):
                return rule
            end = path.find("/", end + 1)
        return None

    def rule(self, path: str) -> str | None:
        """The rule that leaves the file `path` alone, by its own name or by a folder that it lies in."""
        return self.folders_above(path) or self.file(path.rpartition("/")[2], path)

    def _by_settings(self, path: str) -> str | None:
        if pattern := self._by_pattern(path):
            return pattern
        return self._skips(self._beneath + path) if self._skips is not None else None

    def _by_pattern(self, path: str) -> str | None:
        pattern = self._patterns.match(self._beneath + path) if self._patterns else None
        return None if pattern is None else f"your pattern {pattern!r}"


def _is_image(name: str) -> bool:
    stem, _, extension = name.rpartition(".")
    if not stem or extension.lower() not in IMAGE_EXTENSIONS:
        return False
    return stem[0] != "." and not stem.startswith(("~$", "~syncthing~"))


def _first(rules: tuple[tuple[re.Pattern[str], str], ...], name: str) -> str | None:
    return next((rule for expression, rule in rules if expression.match(name)), None)
