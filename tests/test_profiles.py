"""Promises about profiles: other words for another folder, and none of it mixed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from captiond.errors import CannotStart
from captiond.exiftool import Exiftool
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import Rules
from captiond.service.rules import RuleBook, ignore_of
from captiond.settings import Settings, load
from captiond.settings.reload import change
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer

SHOP = """
caption: {prompt: Describe it., max_new_tokens: 50}
output: {text_sidecar: true}
profiles:
  - match: "shop/**"
    caption: {prompt: Describe the product.}
  - match: [private/, "*.draft.jpg"]
    skip: true
  - match: "shop/archive/**"
    caption: {prompt: Never reached.}
"""


def settings(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "captiond.yaml"
    file.write_text(text)
    return load(file, environ, tmp_path)


def book(tmp_path: Path, text: str) -> RuleBook:
    return RuleBook(settings(tmp_path, text), Exiftool())


def asked_of(rules: Rules) -> FieldQuestion:
    assert isinstance(rules.interview, Interviewing)
    return rules.interview.caption


def prompt_of(rules: Rules) -> str:
    return asked_of(rules).question.prompt


def test_the_first_profile_that_matches_counts(tmp_path: Path) -> None:
    """A picture has the rules of one profile, and what it leaves open is everybody's."""
    rules_of = book(tmp_path, SHOP).of
    assert prompt_of(rules_of("trip/a.jpg")) == "Describe it."
    assert rules_of("trip/a.jpg").profile is None
    for path in ("shop/a.jpg", "shop/archive/a.jpg"):
        rules = rules_of(path)
        assert (prompt_of(rules), asked_of(rules).max_new_tokens) == ("Describe the product.", 50)
        assert (rules.profile, rules.takes_text) == ("shop/**", True)


def test_approval_is_a_profiles_and_never_a_librarys(tmp_path: Path) -> None:
    """Whose texts wait: by the first profile that matches, else by everybody's; nobody's in a library."""
    text = """
        output: {approve: unsure}
        profiles:
          - {match: "shop/**", output: {approve: all}}
          - {match: "home/**", output: {approve: false}}
    """
    rules = book(tmp_path, text)
    assert [rules.of(path).approve for path in ("a.jpg", "shop/a.jpg", "home/a.jpg")] == [
        "unsure",
        "all",
        "never",
    ]
    assert rules.of_library("shop", xmp=True)("a.jpg").approve == "never"
    assert book(tmp_path, "output: {approve: false}").of("a.jpg").approve == "never"


def test_what_is_skipped_stays_and_is_explained(tmp_path: Path) -> None:
    """`skip: true` leaves pictures in the inbox by a rule that names the profile."""
    rules = ignore_of(settings(tmp_path, SHOP))
    assert "private/, *.draft.jpg" in (rules.rule("private/a.jpg") or "")
    assert rules.rule("trip/a.draft.jpg") is not None and rules.is_asked_for("trip/a.draft.jpg")
    assert rules.rule("trip/a.jpg") is None


def test_the_environment_is_everybodys_and_a_profile_is_nearer(tmp_path: Path) -> None:
    """What is set for all pictures by environment is still changed by a profile for its own."""
    read = settings(tmp_path, SHOP, CAPTIOND_CAPTION__PROMPT="What is it?")
    assert read.caption.prompt == "What is it?"
    assert read.profiles[0].caption.prompt == "Describe the product."
    assert read.profiles[1].caption.prompt == "What is it?"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("{match: '!shop/**'}", "`!`"),
        ("{match: []}", "must name the pictures"),
        ("{caption: {prompt: x}}", "match"),
        ("{match: a, captoin: {prompt: x}}", "did you mean `caption`"),
        ("{match: a, caption: {promt: x}}", "did you mean `prompt`"),
        ("{match: a, caption: {max_new_tokens: 0}}", "caption.max_new_tokens"),
        ("{match: a, model: {id: demo}}", "unknown key `profiles.model`"),
        ("{match: a, skip: 3}", "skip"),
        ("shop", "line 3"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_line(tmp_path: Path, profile: str, said: str) -> None:
    """Nothing is guessed: the key, what is wrong and the line are told."""
    with pytest.raises(CannotStart) as refused:
        settings(tmp_path, f"caption: {{prompt: Describe it.}}\nprofiles:\n  - {profile}\n")
    assert said in refused.value.message
    assert "line" in refused.value.message


def test_a_reload_mixes_no_two(tmp_path: Path) -> None:
    """Profiles are taken over whole, and a picture keeps the rules that it began with."""
    former, latter = settings(tmp_path, SHOP), settings(tmp_path, SHOP.replace("product", "thing"))
    changed = change(former, latter)
    assert changed.taken_over == ("profiles",) and changed.need_restart == ()
    rules = RuleBook(former, Exiftool())
    begun = rules.of("shop/a.jpg")
    rules.take_over(changed.settings)
    assert prompt_of(begun) == "Describe the product."
    assert prompt_of(rules.of("shop/a.jpg")) == "Describe the thing."


def test_a_folder_of_its_own_words(tmp_path: Path) -> None:
    """Run as a user would: each folder is asked about in its words, and the sidecar names the profile."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "navy").save(buffer, "PNG")
    with FakeChatServer() as server:
        place = Place(tmp_path, {"model": server.settings, "caption": {"prompt": "Describe it."}})
        values = json.loads(place.settings.read_text())
        shop = {"match": "shop/**", "caption": {"prompt": "Describe the product."}}
        place.settings.write_text(
            json.dumps(values | {"profiles": [shop, {"match": "private/", "skip": True}]})
        )
        for path in ("shop/a.png", "trip/b.png", "private/c.png"):
            place.drop(buffer.getvalue(), path)
        assert place.once().returncode == 0
    product, other = place.sidecar("shop/a.png"), place.sidecar("trip/b.png")
    assert (product["prompt"], product["profile"]) == ("Describe the product.", "shop/**")
    assert other["prompt"] == "Describe it." and "profile" not in other
    assert place.left_in_inbox() == ["private/c.png"]
    assert "your profile 'private/'" in captiond("explain", "-c", place.settings, "private/c.png").stdout
