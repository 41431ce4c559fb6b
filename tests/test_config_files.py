"""The settings files we hand out say what the program does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from captiond.settings import Settings, load

CONFIG = Path(__file__).parent.parent / "config"


def known_keys() -> set[str]:
    """Every key an operator can write into a file."""
    keys = set()
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= {f"{section}.{name}" for name in field.annotation.model_fields}
    return keys - {"model.api_key", "http.token", "notify.token"}


def test_the_handed_out_file_holds_the_defaults() -> None:
    """Copying config/captiond.yaml changes nothing: it says what would be without it."""
    read = load(CONFIG / "captiond.yaml", {}, Path("/"))
    assert read.model_copy(update={"source": None}) == Settings()


def test_the_handed_out_file_names_every_key() -> None:
    """Whoever reads config/captiond.yaml has seen every key there is."""
    written = yaml.safe_load((CONFIG / "captiond.yaml").read_text(encoding="utf-8"))
    assert written.pop("profiles") == []
    assert written.pop("libraries") == []
    assert {f"{section}.{key}" for section, keys in written.items() for key in keys} == known_keys()


def test_every_key_is_explained_in_one_sentence() -> None:
    """Each key of config/captiond.yaml has one comment line above it, which is a sentence."""
    lines = (CONFIG / "captiond.yaml").read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(lines):
        if line.startswith("  ") and not line.lstrip().startswith("#"):
            comment = above.strip()
            assert comment.startswith("# "), line
            assert comment.endswith("."), line
            assert comment[2:3].isupper(), line


@pytest.mark.parametrize("name", ["captiond.yaml", "docker.yaml"])
def test_handed_out_files_can_be_read(name: str) -> None:
    """Every settings file in the repository is accepted."""
    assert load(CONFIG / name, {}, Path("/")).source == CONFIG / name


def test_the_container_keeps_its_folders_beneath_data() -> None:
    """config/docker.yaml differs from the defaults in its folders, and in nothing else."""
    read = load(CONFIG / "docker.yaml", {}, Path("/"))
    assert read.folders.model_dump() == {
        name: Path("/data") / name for name in ("inbox", "done", "failed", "state")
    }
    assert read.model_copy(update={"source": None, "folders": Settings().folders}) == Settings()
