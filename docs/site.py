"""What the site shows that does not lie in docs/, and links that lead there from either place."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "README.md": "index.md",
    "benchmarks/RESULTS.md": "RESULTS.md",
    "training/README.md": "training.md",
    **{
        name: name
        for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")
    },
    **{name: name for name in ("config/captiond.yaml", "daemon/captiond/metadata/firmware.toml")},
    **{name: name for name in ("systemd/captiond.service", "systemd/notify-reload.conf")},
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Those files as if they lay in docs/."""
    for source, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are meant in the checkout, turned to where the site has the file."""
    names = {name: source for source, name in ELSEWHERE.items()}
    source = names.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: _turned(link[1], source, page.file.src_uri), markdown)


def _turned(link: str, source: str, shown_as: str) -> str:
    meant = (ROOT / source).parent.joinpath(link).resolve()
    if not meant.is_relative_to(ROOT):
        return link
    path = meant.relative_to(ROOT).as_posix()
    name = ELSEWHERE.get(path, path.removeprefix("docs/"))
    return "../" * shown_as.count("/") + name
