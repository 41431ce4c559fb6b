"""The demo model: a small checkpoint of the real architecture, and the drawn scenes that it captions.

Nothing here imports torch; `training/` shows how the checkpoint was made.
"""

from importlib.resources import files
from pathlib import Path


def checkpoint_path() -> Path:
    """The folder of the demo checkpoint, which ships inside the package."""
    return Path(str(files("captiond.demo"))) / "checkpoint"
