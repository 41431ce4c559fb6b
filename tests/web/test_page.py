"""The page at / and its API, as people and programs use them: a real daemon, real files, a real browser."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from daemon_process import Place, Running, captiond
from fake_chat_server import FakeChatServer
from open_page import CHROMIUM, browsing, damaged, expect, picture

TOKEN = "0123456789abcdef0123456789abcdef"
DESCRIPTION = 0x010E


def two_coloured(colour: str = "green") -> bytes:
    """Of one colour it would need a look, since such a picture shows nothing."""
    image, buffer = Image.new("RGB", (60, 40), colour), io.BytesIO()
    image.paste("white", (0, 0, 30, 40))
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass
class Served:
    place: Place
    daemon: Running
    door: httpx.Client
    server: FakeChatServer

    def drop(self, name: str, data: bytes) -> dict[str, Any]:
        """Drop a picture and wait until the API tells what became of it."""
        before = self.door.get("/api/pictures", params={"limit": 1}).json()["pictures"]
        self.place.drop(data, name)
        return self.told(lambda one: one["path"] == name and (not before or one["id"] > before[0]["id"]))

    def told(self, is_meant: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            pictures = self.door.get("/api/pictures").json()["pictures"]
            found[:] = filter(is_meant, pictures)
            return bool(found)

        self.daemon.until(look)
        return found[0]

    def revise(self, id: int, caption: str, **more: str) -> httpx.Response:
        return self.door.put(f"/api/pictures/{id}/caption", json={"caption": caption, **more})

    def check(self, name: str, caption: str) -> None:
        """Sidecar, image and checksum agree."""
        record, image = self.place.sidecar(name), self.place.done / name
        assert record["caption"] == caption
        assert record["published"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
        with Image.open(image) as opened:
            described = opened.getexif()[DESCRIPTION]
        assert described.encode("latin-1").decode() == caption


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A daemon for each test: what one lists, counts or deletes is nobody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    with FakeChatServer() as server:
        model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        http = {"listen": address, "token_file": str(tmp_path / "token")}
        place = Place(tmp_path, {"model": model, "http": http, "watch": {"settle_seconds": 0.05}})
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with (
            place.running() as daemon,
            httpx.Client(base_url=f"http://{address}", headers=headers, timeout=30, trust_env=False) as door,
        ):
            yield Served(place, daemon, door, server)


def test_pictures_are_found_paged_and_shown(served: Served) -> None:
    """Newest first, by their words, a page at a time; each with a small JPEG that browsers may keep."""
    wide = served.drop("trip/sea.jpg", picture("blue", 1200, 400))
    served.drop("leaf.jpg", picture("green"))
    assert (wide["caption"], wide["folder"]) == ("A 1200 by 400 picture, mostly blue.", "done")
    newest = served.door.get("/api/pictures", params={"limit": 1}).json()
    assert [one["path"] for one in newest["pictures"]] == ["leaf.jpg"]
    older = served.door.get("/api/pictures", params={"limit": 1, "before": newest["older"]}).json()
    assert older["pictures"] == [wide] and older["older"] is None
    for words, found in (("BLUE trip", ["trip/sea.jpg"]), ("leaf", ["leaf.jpg"]), ("zebra", [])):
        answer = served.door.get("/api/pictures", params={"search": words}).json()
        assert [one["path"] for one in answer["pictures"]] == found
    shown = served.door.get(f"/api/pictures/{wide['id']}/thumbnail")
    image = Image.open(io.BytesIO(shown.content))
    assert (image.format, max(image.size)) == ("JPEG", 320)
    again = served.door.get(
        f"/api/pictures/{wide['id']}/thumbnail", headers={"If-None-Match": shown.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_an_edited_caption_is_in_the_sidecar_and_in_the_image(served: Served) -> None:
    """It is found by its new words, the model's are told beside it, and what misleads the eye is left out."""
    dropped = served.drop("boat.jpg", picture("red"))
    id, said = dropped["id"], dropped["caption"]
    answer = served.revise(id, "  Groß\u202emutters\u200b\nBoot\ufeff ", was=said)
    assert (answer.status_code, answer.json()["caption"]) == (200, "Großmutters Boot")
    assert answer.json()["model_caption"] == said and answer.json()["edited_at"]
    assert served.place.sidecar("boat.jpg")["edited"]["model_caption"] == said
    served.check("boat.jpg", "Großmutters Boot")
    assert served.door.get("/api/pictures", params={"search": "boot"}).json()["pictures"][0]["id"] == id
    assert served.door.get("/api/pictures", params={"search": said}).json()["pictures"] == []


def test_what_needs_a_look_is_found_and_counted_until_a_person_changed_it(served: Served) -> None:
    """By the API, by status, in metrics and in the sidecar."""
    said = "A sign with the number 555-0142 and info@shop.example on it."
    served.server.script.append(said)
    id = served.drop("sign.jpg", two_coloured())["id"]
    served.drop("leaf.jpg", two_coloured("blue"))

    def found(**filters: str) -> list[str]:
        answer = served.door.get("/api/pictures", params=filters).json()
        return [one["path"] for one in answer["pictures"]]

    assert (found(needs_look="true"), found(needs_look="false")) == (["sign.jpg"], ["leaf.jpg"])
    assert served.door.get("/api/ids", params={"needs_look": "true"}).json()["ids"] == [id]
    status = served.door.get("/api/status").json()
    assert status["counts"]["needs_look"] == status["totals"]["needs_look"] == 1
    assert "captiond_needs_look_total 1.0" in served.door.get("/metrics").text
    assert served.place.sidecar("sign.jpg")["needs_look"] is True
    assert "2 done (1 to be looked at)" in captiond("status", "-c", served.place.settings).stdout
    assert served.revise(id, "The sign of a shop.").status_code == 200
    assert found(needs_look="true") == []
    assert served.door.get("/api/status").json()["totals"]["needs_look"] == 0
    assert "needs_look" not in served.place.sidecar("sign.jpg")


def test_what_a_sidecar_says_of_a_look_counts(served: Served) -> None:
    """Whoever changed it: the history follows when the picture is shown."""
    id = served.drop("leaf.jpg", two_coloured())["id"]
    sidecar = served.place.done / "leaf.jpg.caption.json"
    sidecar.write_text(json.dumps(served.place.sidecar("leaf.jpg") | {"needs_look": True}))
    served.door.get(f"/api/pictures/{id}").raise_for_status()
    answer = served.door.get("/api/pictures", params={"needs_look": "true"}).json()
    assert [one["id"] for one in answer["pictures"]] == [id]


def test_what_cannot_be_edited_is_told(served: Served) -> None:
    """404: no such picture; 409: somebody was faster, or changed the image; 422: no words."""
    id = served.drop("dog.jpg", picture("orange"))["id"]
    said = served.place.sidecar("dog.jpg")["caption"]
    assert served.revise(10**9, "Rex").status_code == 404
    assert served.revise(id, " \n").status_code == 422
    assert served.revise(id, "x" * 5000).status_code == 422
    for half in (b'{"caption": "\\ud800"}', b'{"caption": "Rex \\udfff."}'):
        typed = {"Content-Type": "application/json"}
        assert served.door.put(f"/api/pictures/{id}/caption", content=half, headers=typed).status_code == 422
    overtaken = served.revise(id, "Rex", was="A cat.")
    assert overtaken.status_code == 409 and "changed meanwhile" in overtaken.json()["detail"]
    served.check("dog.jpg", said)
    with (served.place.done / "dog.jpg").open("ab") as file:
        file.write(b"retouched")
    assert served.revise(id, "Rex").status_code == 409
    assert served.place.sidecar("dog.jpg")["caption"] == said


def test_all_texts_are_edited_together(served: Served) -> None:
    """Those that are named: in the sidecar and in the picture's fields; the others stay."""
    id = served.drop("dog.jpg", picture("orange"))["id"]
    said = served.place.sidecar("dog.jpg")["caption"]
    new = {"alt_text": " A dog\nat rest ", "title": "Rex", "keywords": ["dog", "Dog", "beach"]}
    answer = served.door.patch(f"/api/pictures/{id}", json=new | {"was": {"caption": said, "title": None}})
    assert answer.status_code == 200, answer.text
    record = served.place.sidecar("dog.jpg")
    assert answer.json()["record"] == record and answer.json()["edited_at"]
    assert record["caption"] == record["edited"]["model_caption"] == said
    assert record["fields"] == {"alt_text": "A dog at rest", "title": "Rex", "keywords": ["dog", "beach"]}
    assert record["edited"]["model_fields"] == dict.fromkeys(new)
    served.check("dog.jpg", said)
    packet = (served.place.done / "dog.jpg").read_bytes()
    assert all(word in packet for word in (b"A dog at rest", b">Rex<", b">beach<"))
    answer = served.door.patch(f"/api/pictures/{id}", json={"title": None, "keywords": ["sea"]})
    assert served.place.sidecar("dog.jpg")["fields"] == {"alt_text": "A dog at rest", "keywords": ["sea"]}
    packet = (served.place.done / "dog.jpg").read_bytes()
    assert b">Rex<" not in packet and b">beach<" not in packet and b">sea<" in packet
    for refused, status in (
        ({"alt_text": "x" * 126}, 422),
        ({"caption": None}, 422),
        ({"keywords": ["x" * 65]}, 422),
        ({"rating": 5}, 422),
        ({"title": "Max", "was": {"title": "Rex"}}, 409),
    ):
        answer = served.door.patch(f"/api/pictures/{id}", json=refused)
        assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), refused
    assert served.place.sidecar("dog.jpg")["fields"] == {"alt_text": "A dog at rest", "keywords": ["sea"]}


def prompt_of(served: Served, name: str) -> object:
    """None at the moment in which a sidecar makes way for its twin."""
    with contextlib.suppress(FileNotFoundError):
        return served.place.sidecar(name)["prompt"]
    return None


def test_a_picture_is_described_again_and_put_back(served: Served) -> None:
    """By other words this once, whoever wrote what is there; and back, step by step."""
    id = served.drop("dog.jpg", picture("orange"))["id"]
    said = served.place.sidecar("dog.jpg")["caption"]
    empty = {"Content-Type": "application/json"}
    assert served.door.post(f"/api/pictures/{id}/undo", headers=empty).status_code == 409
    served.revise(id, "Rex.")
    answer = served.door.post(f"/api/pictures/{id}/redo", json={"prompt": "Which colour is it?"})
    assert answer.status_code == 202 and answer.json()["list"]
    served.daemon.until(lambda: prompt_of(served, "dog.jpg") == "Which colour is it?")
    served.check("dog.jpg", said)
    served.told(lambda one: one["id"] == id and one["caption"] == said and not one["edited_at"])
    for caption, model_caption in (("Rex.", said), (said, None)):
        answer = served.door.post(f"/api/pictures/{id}/undo", headers=empty)
        assert (answer.json()["caption"], answer.json()["model_caption"]) == (caption, model_caption)
        served.check("dog.jpg", caption)
    assert "history" not in served.place.sidecar("dog.jpg")
    counted = served.door.get("/metrics").text
    for event, count in (("edited", 1), ("redone", 1), ("undone", 2)):
        assert f'captiond_changes_total{{event="{event}"}} {count}.0' in counted
    assert served.door.post(f"/api/pictures/{10**9}/redo", headers=empty).status_code == 404


def test_a_caption_that_was_edited_elsewhere_is_shown(served: Served) -> None:
    """The sidecar is right; the history follows it."""
    id = served.drop("cat.jpg", picture("white"))["id"]
    sidecar = served.place.done / "cat.jpg.caption.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"caption": "Minka."}))
    assert served.told(lambda one: one["id"] == id)["caption"] == "Minka."
    assert served.door.get("/api/pictures", params={"search": "minka"}).json()["pictures"][0]["id"] == id


def test_a_picture_that_is_gone_is_told_as_gone(served: Served) -> None:
    """Nothing else is taken for it: not another picture of that name, and not what a link leads to."""
    id = served.drop("old.jpg", picture("gray"))["id"]
    image, record = served.place.done / "old.jpg", served.place.done / "old.jpg.caption.json"
    image.rename(served.place.root / "old.jpg")
    kept = record.rename(served.place.root / "old.json").read_bytes()

    def is_gone() -> bool:
        answers = served.door.get(f"/api/pictures/{id}/thumbnail"), served.revise(id, "Rex")
        is_there = served.told(lambda one: one["id"] == id)["is_there"]
        return not is_there and [answer.status_code for answer in answers] == [404, 404]

    assert is_gone()
    image.symlink_to(served.place.root / "old.jpg")
    record.write_bytes(kept)
    assert is_gone()
    image.unlink()
    record.unlink()
    served.drop("old.jpg", picture("black"))
    assert is_gone()
    served.check("old.jpg", "A 60 by 40 picture, mostly red.")


def test_failed_pictures_go_back(served: Served) -> None:
    """One, or all of them; the reason is told until then."""
    one = served.drop("bad.png", damaged())
    assert (one["folder"], one["kind"], one["caption"]) == ("failed", "unreadable", None)
    assert one["message"] and one["advice"]
    assert served.door.get(f"/api/pictures/{one['id']}/thumbnail").status_code == 415
    (served.place.failed / "bad.png").write_bytes(picture("green", format="PNG"))  # somebody mends it
    empty = {"Content-Type": "application/json"}
    answer = served.door.post(f"/api/pictures/{one['id']}/retry", headers=empty)
    assert answer.json() == {"inbox": "bad.png"}
    served.told(lambda two: two["path"] == "bad.png" and two["folder"] == "done")
    assert served.door.post(f"/api/pictures/{one['id']}/retry", headers=empty).status_code == 404
    served.drop("worse.png", damaged())
    assert served.door.post("/api/retry", headers=empty).json() == {"returned": 1}


def test_only_the_page_itself_may_change_anything(served: Served) -> None:
    """No form and no script of another site, nobody without the token; no name leads out of done/."""
    id = served.drop("mine.jpg", picture("purple"))["id"]
    path, body = f"/api/pictures/{id}/caption", json.dumps({"caption": "Theirs."}).encode()
    typed = {"Content-Type": "application/json"}
    own = {"Origin": str(served.door.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    for headers, status in (
        (typed | {"Origin": "http://evil.example"}, 403),
        (typed | {"Origin": "null"}, 403),
        (typed | {"Sec-Fetch-Site": "cross-site"}, 403),
        (typed | {"Sec-Fetch-Site": "same-site"}, 403),
        (typed | {"Host": "evil.example"}, 421),
        (typed | {"Authorization": "Bearer wrong"}, 401),
        ({"Content-Type": "text/plain"}, 415),
        (typed | own, 200),
    ):
        assert served.door.put(path, content=body, headers=headers).status_code == status, headers
    asked = served.door.options(path, headers={"Origin": "http://evil.example"})
    assert asked.status_code == 403 and "access-control-allow-origin" not in asked.headers
    assert served.door.post("/api/retry").status_code == 415
    for odd in ("../../token", "%2e%2e%2ftoken", "-1", str(10**30)):
        assert served.door.get(f"/api/pictures/{odd}/thumbnail").status_code in (404, 422)


def test_strangers_see_an_empty_page(served: Served) -> None:
    """Its files are the same for everybody, a link may lead there, and everything else wants the token."""
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    with httpx.Client(base_url=served.door.base_url, trust_env=False) as stranger:
        page = stranger.get("/", headers=linked)
        assert page.is_success and "script-src 'self'" in page.headers["Content-Security-Policy"]
        for name in ("page.css", "page.js", "cards.js", "api.js", "icon.svg"):
            assert stranger.get(f"/page/{name}").is_success
        for path in ("/api/status", "/api/pictures", "/api/pictures/1/thumbnail", "//api/status"):
            assert stranger.get(path).status_code == 401
        assert stranger.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_a_deleted_history_is_begun_anew(served: Served) -> None:
    """Whatever was shown is forgotten, what comes is shown, and an old number means no other picture."""
    served.drop("long-before.jpg", picture("gray"))
    id = served.drop("before.jpg", picture("navy"))["id"]
    for file in (served.place.root / "state").glob("history*"):
        file.unlink()
    after = served.drop("after.jpg", picture("teal"))
    assert after["id"] < id
    assert served.revise(after["id"], "Theirs.", was="A 60 by 40 picture, mostly navy.").status_code == 409
    assert served.door.get("/api/status").json()["totals"]["done"] == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_people_look_through_their_pictures(served: Served) -> None:
    """Token, sheet, live pictures, search, edit, retry: by keyboard alone; and nothing leaves the machine."""
    served.drop("first.jpg", picture("red", 90, 60))
    asked: list[str] = []
    complaints: list[str] = []
    with browsing() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        keys = page.keyboard
        page.goto(str(served.door.base_url))
        expect(page.get_by_label("Token")).to_be_focused()
        keys.type("wrong" * 4 + "\n")
        expect(page.get_by_text("That is not the token.")).to_be_visible()
        complaints.clear()  # the browser's own, of the answers 401
        keys.type(TOKEN + "\n")
        # The picture itself, with its caption for those who do not see it.
        expect(page.get_by_alt_text("A 90 by 60 picture, mostly red.")).to_be_visible()

        served.drop("second.jpg", picture("blue", 90, 60))
        second = page.get_by_role("listitem").filter(has_text="second.jpg")
        expect(second.get_by_text("A 90 by 60 picture, mostly blue.")).to_be_visible()

        keys.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        keys.type("blue 90")
        expect(page.get_by_role("listitem").filter(has_text="first.jpg")).to_have_count(0)
        expect(second).to_be_visible()
        keys.press("Tab")
        expect(second.get_by_role("button", name="Edit the caption of second.jpg")).to_be_focused()
        keys.press("Enter")
        expect(second.get_by_role("textbox")).to_be_focused()
        keys.press("Control+A")
        keys.type("The sea at Skagen.\n")
        expect(second.get_by_text("edited by hand")).to_be_visible()
        expect(second.get_by_role("button", name="Edit")).to_be_focused()
        expect(page.get_by_text("The caption is saved.")).to_have_count(1)
        served.check("second.jpg", "The sea at Skagen.")

        served.drop("third.png", damaged())
        page.goto(f"{served.door.base_url}?folder=failed")
        third = page.get_by_role("listitem").filter(has_text="third.png")
        third.get_by_role("button", name="Retry").focus()
        keys.press("Enter")
        expect(third.get_by_text("Put back into the inbox as third.png.")).to_be_visible()
    inside = str(served.door.base_url).rstrip("/")
    assert [url for url in asked if not url.startswith((inside, "blob:"))] == []
    assert complaints == []
