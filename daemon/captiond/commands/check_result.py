"""What one check found, and how it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from captiond.errors import CannotStart, ExitCode, Verdict


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found.  ok: True is fine, None works but is worth a look, False keeps the daemon from work."""

    name: str
    ok: bool | None
    message: str
    advice: str | None = None
    exit_code: ExitCode = ExitCode.TRY_AGAIN  # if ok is False

    def as_json(self) -> dict[str, str | None]:
        result = _MARKS[self.ok].lower()
        return {"name": self.name, "result": result, "message": self.message, "advice": self._advice}

    def lines(self) -> Iterator[str]:
        yield f"{_MARKS[self.ok]:7}  {self.name}: {self.message}"
        if self._advice:
            yield f"         -> {self._advice}"

    @property
    def _advice(self) -> str | None:
        return None if self.ok else self.advice


_MARKS = {True: "ok", False: "WRONG", None: "warning"}


def wrong(name: str, verdict: Verdict) -> CheckResult:
    exit_code = verdict.exit_code if isinstance(verdict, CannotStart) else ExitCode.TRY_AGAIN
    return CheckResult(name, False, verdict.message, verdict.advice, exit_code)


def size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
