"""What the API beneath `/api` takes and gives, as JSON."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, field_validator

from captiond.checking.by_person import Changes
from captiond.history import Wanted
from captiond.names import checked_path
from captiond.records import FieldName, Role
from captiond.redo.lists import LONGEST_PROMPT

PAGE_LENGTH = 24
LONGEST_PAGE = 100
LONGEST_LIST = 100_000
MOST_AT_ONCE = 1000
LARGEST_ID = (1 << 63) - 1

Number = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Name = Annotated[str, Field(max_length=1000)]


class Side(IntEnum):
    """How large a picture is shown: on a sheet, on a sheet of fine pixels, as large as a window."""

    SMALL = 320
    FINE = 640
    LARGE = 2560


_FIELDS: tuple[FieldName, ...] = get_args(FieldName)


class Filters(BaseModel):
    """Which pictures; what is left out asks nothing of them."""

    folder: Literal["done", "failed"] | None = None
    search: str = Field("", max_length=200, description="Words of caption or path")
    beneath: Name | None = Field(None, description="A folder in that folder, with all below it")
    model: Name | None = None
    format: Name | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Before this moment")
    edited: bool | None = Field(None, description="Whether a person changed the caption")
    needs_look: bool | None = Field(None, description="Whether a person should look at the texts")
    awaits_approval: bool | None = Field(None, description="Whether its texts wait for approval")
    to_review: bool | None = Field(None, description="Whether either of these two holds")
    before: Number | None = Field(None, description="Older than this id")
    after: Number | None = Field(None, description="Newer than this id")

    @field_validator("beneath")
    @classmethod
    def _is_a_path(cls, path: str | None) -> str | None:
        return checked_path(path) if path is not None else None

    def wanted(self) -> Wanted:
        told = self.model_dump(exclude={"edited", "limit", "ids"})
        return Wanted(**told, is_edited=self.edited)


class Page(Filters):
    limit: int = Field(PAGE_LENGTH, ge=1, le=LONGEST_PAGE)
    ids: str | None = Field(
        None,
        pattern=r"^[0-9]{1,18}(,[0-9]{1,18})*$",
        max_length=19 * LONGEST_PAGE,
        description="Just these, separated by commas, in this order; nothing else is looked at then",
    )

    def numbers(self) -> list[int] | None:
        return [int(one) for one in self.ids.split(",")][:LONGEST_PAGE] if self.ids is not None else None


class _FromRecord(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Place(_FromRecord):
    """What became of one place in the image that a caption could have been written to."""

    target: str
    action: str
    reason: str | None


class Picture(_FromRecord):
    """What became of one picture."""

    id: int
    folder: Literal["done", "failed"]
    path: str = Field(description="Beneath that folder")
    is_there: bool | None = Field(
        description="False where somebody has taken it away since; null where nobody can look just now"
    )
    at: datetime
    caption: str | None
    edited_at: datetime | None = Field(description="When a person changed the caption")
    fields: dict[str, str | list[str]] = Field(description="The other texts, as in the sidecar")
    needs_look: bool = Field(description="Whether a person should look at the texts")
    awaits_approval: bool = Field(
        description="Whether the texts stand in the sidecar alone until a person approves them"
    )
    model_caption: str | None = Field(description="What the model had said, where a person changed it")
    model: str | None
    written: list[Place]
    format: str | None
    width: int | None
    height: int | None
    kind: str | None = Field(description="Why it failed: a stable word")
    message: str | None
    advice: str | None
    attempts: int | None
    library: str | None = Field(description="The library in which it lies; null for all others")


class Closely(Picture):
    """One picture, with the record that lies beside it."""

    record: dict[str, Any] | None = Field(description="X.caption.json or X.error.json; null if it is gone")


class Shot(_FromRecord):
    """What the camera wrote into a picture."""

    taken_at: NaiveDatetime | None = Field(description="By the camera's clock, whose time zone nobody knows")
    camera: str | None


class Pictures(BaseModel):
    pictures: list[Picture]
    older: int | None = Field(description="The `before` of the next page; null where nothing is older")


class Ids(BaseModel):
    ids: list[int] = Field(description="Newest first")
    is_all: bool = Field(description=f"False where there are more than {LONGEST_LIST:,}")


class Choices(BaseModel):
    """What pictures can be told apart by."""

    beneath: list[str]
    model: list[str]
    format: list[str]


class Me(BaseModel):
    name: str | None = Field(description="As http.tokens_file says; null: nobody in particular")
    role: Role = Field(description="look: see; edit: all; drop: only put files into the inbox")


class NewCaption(BaseModel):
    caption: str
    was: str | None = Field(None, description="Refused with 409 where the caption is not this any more")


class SomeTexts(BaseModel):
    """Those texts that are named; of these, null and an empty one mean that there is no such text."""

    model_config = ConfigDict(extra="forbid")

    caption: str | None = None
    alt_text: str | None = None
    title: str | None = None
    keywords: list[str] | None = Field(None, max_length=MOST_AT_ONCE)
    visible_text: str | None = Field(None, description="An empty one: there is nothing to be read")

    def named(self) -> Changes:
        """Those that are there, null among them."""
        told: Changes = {name: getattr(self, name) for name in _FIELDS if name in self.model_fields_set}
        return told


class NewTexts(SomeTexts):
    """A person's texts; what is not named stays."""

    was: SomeTexts | None = Field(None, description="Refused with 409 where a text is not this any more")


class How(BaseModel):
    prompt: str | None = Field(
        None, min_length=1, max_length=LONGEST_PROMPT, description="For the caption, this once"
    )


class Listed(BaseModel):
    list: str = Field(description="As `captiond redo --list` shows it")


class Some(BaseModel):
    ids: list[Number] | None = Field(None, max_length=MOST_AT_ONCE, description="Only these; null: all")


class Those(BaseModel):
    ids: list[Number] = Field(min_length=1, max_length=MOST_AT_ONCE)


class NotApproved(_FromRecord):
    id: int
    why: str


class Approved(BaseModel):
    approved: int = Field(description="How many pictures have the texts written into them now")
    refused: list[NotApproved] = Field(description="The others")


class Returned(BaseModel):
    inbox: str = Field(description="Its path in the inbox")


class ReturnedAll(BaseModel):
    returned: int = Field(description="How many pictures went back into the inbox")
