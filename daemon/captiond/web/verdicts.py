"""The HTTP status of each verdict; any other exception is a bug of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from captiond.checking.by_person import Unfit
from captiond.delivery.intake import BadName
from captiond.errors import NotThere, Rejected, Surroundings, TryLater
from captiond.web.arrival import RETRY_AFTER_SECONDS


@contextmanager
def verdicts() -> Iterator[None]:
    try:
        yield
    except NotThere as gone:
        raise HTTPException(404, gone.message) from gone
    except (Unfit, BadName) as refused:
        raise HTTPException(422, refused.message) from refused
    except Rejected as rejected:
        raise HTTPException(415, rejected.message) from rejected
    except TryLater as later:
        raise HTTPException(409, f"{later.message}.  {later.advice or ''}".rstrip(". ") + ".") from later
    except Surroundings as trouble:
        raise HTTPException(503, trouble.message, _AGAIN) from trouble
    except MemoryError as error:
        raise HTTPException(503, "there is not enough memory for it", _AGAIN) from error


_AGAIN = {"Retry-After": str(RETRY_AFTER_SECONDS)}
