"""The settings of one library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from captiond.settings.values import Section


class Library(Section):
    """A folder whose pictures are described where they lie."""

    name: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,63}$")]
    path: Path
    sidecars: Literal["beside"] | Path = "beside"
    write: Annotated[tuple[Literal["json", "xmp"], ...], Field(strict=False)] = ("json", "xmp")
    existing: bool = False

    @field_validator("write")
    @classmethod
    def _keeps_its_record(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "json" not in value:
            raise ValueError("must hold json: by that file a picture is known to be described")
        return value

    @property
    def mirror(self) -> Path | None:
        """Where sidecars go, if not beside the pictures."""
        return None if self.sidecars == "beside" else Path(self.sidecars)
