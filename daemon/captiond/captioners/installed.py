"""Whether PyTorch and transformers, which run a model here, are installed; without them, ask servers."""

from __future__ import annotations

from importlib.util import find_spec

from captiond.errors import CannotStart, ExitCode

NEEDED = ("torch", "transformers")


def need_local_models() -> None:
    """Raises: CannotStart, if PyTorch or transformers is missing here."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise CannotStart(
            f"this captiond is installed without {' and '.join(missing)}, which run a model here",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Ask a server (model.backend: openai with model.base_url), or install captiond with its "
            "dependencies; of the images, the one that is not `remote`.",
        )
