"""A browser for the tests of a file, and a page in it for each; the file says what is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from open_page import Page, Served, browsing, tab_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def page(served: Served, browser: Any) -> Iterator[Page]:
    with tab_of(browser, served) as page:
        yield page
