"""Requests that no honest client sends: each gets 4xx or no answer, and the log nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from opened_door import Opened, opened, upload, within

GET = b"GET /api/status HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"
PUT = b"PUT /api/pictures/1/caption HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
INFER = b"POST /infer HTTP/1.1\r\nHost: 127.0.0.1\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def door() -> Iterator[Opened]:
    with opened() as there:
        yield there


def get(path: bytes, *headers: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"".join(one + b"\r\n" for one in headers) + b"\r\n"


def json(body: bytes, path: bytes = b"/api/pictures/1/caption") -> bytes:
    head = PUT.replace(b"/api/pictures/1/caption", path)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def form(body: bytes, content_type: bytes = FORM) -> bytes:
    return INFER + content_type + b"Content-Length: %d\r\n\r\n" % len(body) + body


def part(*headers: bytes, content: bytes = b"0", end: bytes = b"\r\n--x--\r\n") -> bytes:
    return b"--x\r\n" + b"".join(one + b"\r\n" for one in headers) + b"\r\n" + content + end


ODD = {
    # Where it comes from, and where it goes to.
    **{
        f"origin {number}": GET + HOST + b"Origin: " + origin + b"\r\n\r\n"
        for number, origin in enumerate((
            b"http://[", b"http://[::1", b"http://]", b"http://[v1.x]:80", b"//", b"null",
            b"http://127.0.0.1:x",
            b"http://[127.0.0.1]", b"\xff\xfe", b"http://\xe2\x84\x80.example", b"%", b" ",
            b"http://" + b"a" * 9000,
            b"http://127.0.0.1\xef\xbc\x8fevil", b"file://", b"", b"http://127.0.0.1@evil.example",
        ))
    },
    **{
        f"host {number}": GET + b"Host: " + host + b"\r\n\r\n"
        for number, host in enumerate((
            b"[", b"[::1", b"]", b"[v1.x]", b"a b", b"127.0.0.1/", b"127.0.0.1:x", b"127.0.0.1:80:80", b"",
            b"\xff", b"127.0.0.1, evil.example", b"user@127.0.0.1", b"[::ffff:999.0.0.1]", b"127.0.0.1%00",
            b"\xe2\x84\x80.example", b"a" * 9000,
        ))
    },
    "no host": GET + b"\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    # The line and the headers.
    "nothing but lines": b"\r\n\r\n\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long line": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a large header": GET + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": GET + HOST + b"X: a\r\n" * 20_000 + b"\r\n",
    "a header without a name": GET + HOST + b": a\r\n\r\n",
    "a header of bytes": GET + HOST + b"X\xff: a\r\n\r\n",
    "a header with NUL": GET + HOST + b"X: \0\r\n\r\n",
    "a folded header": GET + HOST + b"X: a\r\n b\r\nAuthorization\r\n c\r\n\r\n",
    "a space before the colon": GET + HOST + b"Content-Length : 5\r\n\r\nhello",
    "a method of its own": b"BREW /api/status HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a proxy's line": b"GET http://evil.example/api/status HTTP/1.1\r\n" + HOST + b"\r\n",
    "a token of bytes": get(b"/nowhere", b"Authorization: Bearer \xff\xfe"),
    # How long it is.
    "a length of words": INFER + FORM + b"Content-Length: many\r\n\r\n",
    "a length below nothing": INFER + FORM + b"Content-Length: -1\r\n\r\n",
    "a length of 5000 digits": INFER + FORM + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a large length": INFER + FORM + b"Content-Length: 99999999999999999\r\n\r\n",
    "two lengths": INFER + FORM + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "another coding": INFER + FORM + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": INFER + FORM + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "a bad chunk": INFER + FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a huge chunk": INFER + FORM + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    # Paths.
    **{
        f"path {number}": get(path)
        for number, path in enumerate((
            b"/page/%00", b"/page/..%2f..%2fapi.py", b"/page/" + b"a" * 5000, b"/page/page.js/x",
            b"/page/%ff%fe",
            b"/page/", b"/docs/files/%00", b"/docs/files/" + b"a" * 300, b"/%00", b"/%ff",
            b"/api/pictures/%00/thumbnail",
            b"/api/pictures/1e3/thumbnail", b"/api/pictures/" + b"9" * 5000 + b"/thumbnail",
            b"/api/pictures?limit=x",
            b"/api/pictures?before=" + b"9" * 5000, b"/api/pictures?folder=%ff",
            b"/api/pictures?search=" + b"a" * 300,
            b"/api/pictures?limit=NaN",
        ))
    },
    # Bodies of JSON.
    **{
        f"json {number}": json(body)
        for number, body in enumerate((
            b"", b"[", b"[" * 60_000, b'{"a":' * 10_000, b"[" * 30_000 + b"]" * 30_000, b"\xff\xfe", b"null",
            b"NaN",
            b'{"caption": NaN}', b'{"caption": Infinity}', b'{"caption": 1e999}',
            b'{"caption": ' + b"9" * 5000 + b"}",
            b'{"caption": ["\\udfff"]}', b'{"\\ud800": 1}', b'{"caption": null}', b'"a"',
            b'{"caption": "", "was": {"a": [[[[NaN]]]]}}', b"\x00", b'{"caption": "a" "b"}',
        ))
    },
    "json of another charset": json(b'{"caption": 1}').replace(b"/json", b"/json; charset=x"),
    "json that is a form": json(b"a=b").replace(b"/json", b"/x-www-form-urlencoded"),
    "what is no json": json(b"[" * 60_000, b"/api/retry").replace(b"PUT", b"POST").replace(b"/json", b"/x"),
    # Forms.
    "no boundary": form(part(), b"Content-Type: multipart/form-data\r\n"),
    "an empty boundary": form(part(), b"Content-Type: multipart/form-data; boundary=\r\n"),
    "a boundary of bytes": form(part(), b"Content-Type: multipart/form-data; boundary=\xff\r\n"),
    "a long boundary": form(part(), b"Content-Type: multipart/form-data; boundary=" + b"a" * 9000 + b"\r\n"),
    "an empty form": form(b""),
    "no form": form(b"hello"),
    "another boundary": form(b"--y\r\n\r\n\r\n--y--\r\n"),
    "no disposition": form(part(b"X: y")),
    "an odd disposition": form(part(b"Content-Disposition: \xff; name")),
    "no name": form(part(b'Content-Disposition: form-data; filename="a"')),
    "no file": form(part(b'Content-Disposition: form-data; name="file"', content=b"\xff")),
    "many parts": form(part(b'Content-Disposition: form-data; name="a"', end=b"\r\n") * 1100 + b"--x--\r\n"),
    "many files": form(
        part(b'Content-Disposition: form-data; name="a"; filename="b"', end=b"\r\n") * 900 + b"--x--\r\n"
    ),
    "a large header of a part": form(part(b"X: " + b"a" * 60_000)),
    "a large field": form(part(b'Content-Disposition: form-data; name="file"', content=b"0" * 900_000)),
    **{
        f"charset {charset.decode()}": form(
            part(b'Content-Disposition: form-data; name="fil\xff"; filename="\xff"'),
            FORM[:-2] + b"; charset=" + charset + b"\r\n",
        )
        for charset in (b"hex", b"idna", b"punycode", b"undefined", b"utf-7", b"zlib", b"utf-16", b"a" * 100)
    },
    "an encoded form": form(b"file=a&" * 2000, b"Content-Type: application/x-www-form-urlencoded\r\n"),
    "an encoded form of bytes": form(
        b"%ff=%00;=&&&", b"Content-Type: application/x-www-form-urlencoded; charset=idna\r\n"
    ),
    "no content type": form(b"hello", b""),
    "an odd content type": form(b"hello", b"Content-Type: \xff/;;=\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_request_is_answered_with_what_is_wrong(
    door: Opened, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """4xx (or 501, or nothing where nothing was asked), never a 500, never a traceback."""
    request = ODD[kind].replace(b"Host: ", b"Connection: close\r\nHost: ", 1)
    asked_before = door.model.asked
    with caplog.at_level(logging.WARNING):
        answer = door.say(request)
    status = answer[9:12]
    assert answer == b"" or status[:1] == b"4" or status == b"501", answer[:300]
    assert caplog.records == []
    assert door.model.asked == asked_before
    assert door.is_well()


ACCEPTED = (
    b"\xff",
    b"application/openmetrics-text; version=x",
    b"application/openmetrics-text; version=",
    b"application/openmetrics-text; version=1e9",
    b"application/openmetrics-text;version=1.0.0;escaping=x",
    b"text/plain; version=9; escaping=\xff",
    b",;,;=,q=x",
    b"a/b;q=" + b"9" * 5000,
)


@pytest.mark.parametrize("accept", ACCEPTED)
def test_metrics_are_given_whatever_is_accepted(door: Opened, accept: bytes) -> None:
    """An odd Accept header gets the plain format, or is refused."""
    answer = door.say(get(b"/metrics", b"Accept: " + accept, b"Connection: close"))
    assert answer[9:12] == b"200" or answer[9:10] == b"4", answer[:300]


def test_what_two_might_read_differently_ends_the_connection(door: Opened) -> None:
    """Content-Length beside Transfer-Encoding: answered, closed, and what was smuggled is never asked."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for first in (b"GET /api/status", b"PUT /api/pictures/1/caption", b"POST /infer", b"GET /nowhere"):
        both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        answer = door.say(first + b" HTTP/1.1\r\n" + HOST + both + smuggled)
        assert answer.lower().count(b"http/1.1 ") == 1, answer
        assert b"\r\nconnection: close\r\n" in answer.lower()


@pytest.mark.parametrize("after", [b"zz\r\n", b"f" * 40 + b"\r\n", b"1\r\nabc\r\n"])
def test_nonsense_after_the_answer_is_not_told(
    door: Opened, after: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever was answered early and sends on what is no HTTP is cut off without a traceback."""
    head = b"PUT /nowhere HTTP/1.1\r\n" + HOST + b"Origin: http://[\r\nTransfer-Encoding: chunked\r\n\r\n"
    with door.connect(head) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")
        connection.sendall(after)
        connection.settimeout(10)
        try:
            while connection.recv(1000):
                pass
        except ConnectionError:
            pass
    assert caplog.records == []


def test_an_odd_request_says_why_in_words(door: Opened) -> None:
    """`detail` is a sentence, also for what is missing, and repeats nothing of what was sent."""
    answer = door.client.put("/api/pictures/1/caption", json={"was": "secret"})
    assert answer.status_code == 422 and answer.json() == {"detail": "caption: Field required"}
    assert door.client.get("/api/pictures", params={"limit": 1000}).json()["detail"].startswith("limit: ")


@pytest.mark.parametrize("kind", [KeyError, ValueError, TypeError, AttributeError, OSError])
def test_a_fault_of_ours_is_told_as_ours(
    door: Opened, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """500, in words; the log has it once."""
    door.pictures.error = kind("ours")
    try:
        answer = door.client.get("/api/status")
    finally:
        door.pictures.error = None
    assert answer.status_code == 500 and "log" in answer.json()["detail"]
    assert "ours" not in answer.text
    assert within(5, lambda: caplog.records)  # the answer comes first
    assert len(caplog.records) == 1 and caplog.records[0].exc_info
    assert door.is_well() and door.say(upload(b"1"))
