"""Several people with tokens of their own, and a page behind a proxy: real daemons, a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from captiond.errors import CannotStart, ExitCode
from captiond.settings.people import Person, read_people
from captiond.settings.schema import Http
from captiond.web.access import Access, Known
from open_page import CHROMIUM, Served, browsing, expect, picture, serving, tab_of

ADA, BEN, SCANNER = (f"{name}-0123456789abcdef" for name in ("ada", "ben", "scanner"))
LINES = f"# who may come in\n\nada  edit {ADA}\nben\tlook {BEN}\nscanner drop {SCANNER}\n"


def people_file(folder: Path, text: str = LINES, mode: int = 0o600) -> Path:
    file = folder / "tokens"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("daemon")
    http = {"tokens_file": str(people_file(root)), "root_path": "https://photos.example/captions"}
    with serving(root, {"http": http}) as served:
        served.deliver("red.jpg", picture("red"))
        served.fail("bad.png")
        yield served


def client(served: Served, token: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30)


def test_each_role_may_do_its_own(served: Served) -> None:
    """look sees pictures, edit does everything, drop only adds files; the reason says whose role it is."""
    with client(served, ADA) as ada:
        id = served_ids(ada, served)["red.jpg"]
    asked: dict[str, tuple[str, str, dict[str, Any]]] = {
        "status": ("GET", "/api/status", {}),
        "pictures": ("GET", f"/api/pictures/{id}/thumbnail", {}),
        "metrics": ("GET", "/metrics", {}),
        "settings": ("GET", "/api/settings", {}),
        "edit": ("PUT", f"/api/pictures/{id}/caption", {"json": {"caption": "Mine."}}),
        "retry": ("POST", "/api/retry", {"json": {"ids": []}}),
        "inbox": ("GET", "/api/inbox", {}),
        "add": (
            "PUT",
            "/api/inbox/new.jpg",
            {"content": picture("blue"), "headers": {"Content-Type": "application/octet-stream"}},
        ),
        "infer": ("POST", "/infer", {"files": {"file": picture("green")}}),
    }
    may = {
        BEN: {"status", "pictures", "metrics", "inbox"},
        SCANNER: {"inbox", "add", "infer"},
        ADA: set(asked),
        None: set[str](),
    }
    for token, allowed in may.items():
        with client(served, token) as door:
            answers = {name: door.request(way, path, **more) for name, (way, path, more) in asked.items()}
        refused = {name: answer for name, answer in answers.items() if answer.status_code in (401, 403)}
        assert set(asked) - set(refused) == allowed, token
        assert all(answer.is_success for name, answer in answers.items() if name in allowed), answers
    with client(served, BEN) as ben:
        assert ben.post("/api/retry", json={}).json()["detail"].startswith("ben may not do that")
        assert ben.get("/api/me").json() == {"name": "ben", "role": "look"}
        assert ben.get("/healthz").json() == {"status": "ok"}


def test_an_edit_says_by_whom(served: Served) -> None:
    """In the sidecar, by the name of the last who edited."""
    served.deliver("blue.jpg", picture("blue", 61, 40))
    with client(served, ADA) as ada:
        ids = served_ids(ada, served)
        assert ada.patch(f"/api/pictures/{ids['blue.jpg']}", json={"title": "The Sea"}).is_success
    assert served.place.sidecar("blue.jpg")["edited"]["by"] == "ada"


def served_ids(door: httpx.Client, served: Served) -> dict[str, int]:
    """The numbers of what was captioned, once the history has them all."""
    found: dict[str, int] = {}

    def are_there() -> bool:
        pictures = door.get("/api/pictures", params={"folder": "done", "limit": 100}).json()["pictures"]
        found.update({one["path"]: one["id"] for one in pictures})
        return len(found) == len(list(served.place.done.glob("*.caption.json")))

    served.daemon.until(are_there)
    return found


def test_a_proxy_may_show_it_under_a_path(served: Served) -> None:
    """By its own name, with the path taken off or not; no other name and no other page is let in."""
    with client(served, ADA) as ada:
        host = {"Host": "photos.example"}
        for path in ("/captions/api/status", "/api/status", "/captions/docs"):
            assert ada.get(path, headers=host).is_success, path
        sent = ada.get("/captions", headers=host)
        assert (sent.status_code, sent.headers["Location"]) == (307, "/captions/")
        page = ada.get("/captions/", headers=host).text
        assert 'src="/' not in page and 'href="/' not in page
        assert ada.get("/openapi.json").json()["servers"] == [{"url": "/captions"}]
        typed = host | {"Content-Type": "application/json"}
        for origin, status in (("https://photos.example", 200), ("https://evil.example", 403)):
            asked = ada.post("/captions/api/retry", json={"ids": []}, headers=typed | {"Origin": origin})
            assert asked.status_code == status, origin
        assert ada.get("/captions/api/status", headers={"Host": "evil.example"}).status_code == 421
        for odd in ("/captionsapi/status", "/captions/../api/status", "/captions/captions/api/status"):
            assert ada.get(odd, headers=host).status_code == 404 or odd.startswith("/captions/.."), odd


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_the_page_shows_each_what_they_may(served: Served) -> None:
    """Under the proxy's path: ada edits, ben looks, and the scanner's token leads to the inbox alone."""
    with browsing() as browser:
        for token, words, tabs in (
            (ADA, "You are ada, who may edit.", ["Captioned", "Inbox", "Failed", "Daemon"]),
            (BEN, "You are ben, who may look.", ["Captioned", "Inbox", "Failed"]),
            (SCANNER, "You are scanner, who may add pictures.", ["Inbox"]),
        ):
            with tab_of(browser, served) as page:
                tab = page.tab
                tab.goto(f"{served.url}/captions")
                tab.get_by_label("Token").fill(token)
                page.complaints.clear()  # the browser's own, of the answers 401
                tab.get_by_role("button", name="Come in").click()
                expect(tab.get_by_text(words)).to_be_visible()
                shown = tab.locator(".tabs a:visible").all_inner_texts()
                assert [name.split()[0] for name in shown] == tabs
                if token == SCANNER:
                    expect(tab.get_by_role("button", name="Add pictures")).to_be_visible()
                    continue
                expect(page.card("red.jpg").locator("img[src]")).to_be_visible()
                page.card("red.jpg").locator(".frame").click()
                edit = tab.get_by_role("dialog").get_by_role("button", name="Edit", exact=True)
                expect(tab.get_by_role("dialog").get_by_text("60 × 40 pixels")).to_be_visible()
                expect(edit).to_be_visible() if token == ADA else expect(edit).to_be_hidden()
                again = tab.get_by_role("dialog").get_by_role("button", name="Ask again")
                expect(again).to_be_visible() if token == ADA else expect(again).to_be_hidden()
                tab.keyboard.press("r")
                expect(tab.locator(".asking")).to_be_visible(visible=token == ADA)


def test_the_file_is_read_line_by_line(tmp_path: Path) -> None:
    """A name, a role, a token; comments and empty lines say nothing."""
    assert read_people(people_file(tmp_path)) == (
        Person("ada", "edit", ADA),
        Person("ben", "look", BEN),
        Person("scanner", "drop", SCANNER),
    )
    assert ADA not in repr(read_people(people_file(tmp_path)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names nobody"),
        ("# ada edit 0123456789abcdef", "names nobody"),
        ("ada 0123456789abcdef", "line 1"),
        ("ada edit 0123456789abcdef more", "line 1"),
        ("\nada admin 0123456789abcdef", "line 2"),
        ("ada edit short", "at least 16"),
        ("ada edit 0123456789abcdeé", "ASCII"),
        ("../ada edit 0123456789abcdef", "a name is"),
        (f"{'a' * 65} edit 0123456789abcdef", "a name is"),
        ("ada edit 0123456789abcdef\nben look 0123456789abcdef", "line 2"),
    ],
)
def test_what_is_no_list_of_people_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """With the line and the reason, and never with a token."""
    with pytest.raises(CannotStart) as caught:
        read_people(people_file(tmp_path, text))
    assert reason in caught.value.message and caught.value.exit_code is ExitCode.WRONG_SETTINGS
    assert "0123456789" not in caught.value.message and "short" not in caught.value.message


def test_a_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where systemd hands over its credentials, it minds that itself."""
    for mode in (0o644, 0o604):
        with pytest.raises(CannotStart, match="chmod o-rw"):
            read_people(people_file(tmp_path, mode=mode))
    assert read_people(people_file(tmp_path, mode=0o640))
    file = people_file(tmp_path, mode=0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_people(file)
    elsewhere = tmp_path / "credentials"
    elsewhere.mkdir()
    (elsewhere / "link").symlink_to(file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(elsewhere))
    with pytest.raises(CannotStart, match="chmod o-rw"):
        read_people(elsewhere / "link")
    for odd in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(CannotStart, match="cannot be read"):
            read_people(odd)


@pytest.mark.parametrize(
    "odd", ["captions", "/a b", "//x", "/a/../b", "ftp://x/y", "/a?b", "https://", "/a//b", "https://u@x"]
)
def test_only_a_path_or_an_address_is_where_a_proxy_shows_it(odd: str) -> None:
    """What is neither is refused at the start."""
    with pytest.raises(ValidationError):
        Http(root_path=odd)
    for good in ("/captions", "/a/b/", "https://photos.example", "https://photos.example:8443/captions/"):
        assert Http(root_path=good).root_path == good.rstrip("/")


def test_everybodys_token_and_peoples_go_together() -> None:
    """Whoever bears the one of http.token_file may do everything, in nobody's name."""
    access = Access("0.0.0.0", "e" * 16, (Person("ben", "look", BEN),))
    assert access.known({"authorization": f"Bearer {'e' * 16}"}) == Known(None, "edit")
    assert access.known({"authorization": f"bearer {BEN}"}) == Known("ben", "look")
    for odd in ("", "Bearer", f"Basic {BEN}", "Bearer é", f"Bearer {BEN}x"):
        assert access.known({"authorization": odd}) is None
