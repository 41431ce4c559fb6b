"""Delivery against neighbours who share its folders; the world of tests/delivery, and its place in memory."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "delivery"))

from delivery.conftest import disk, other_file_system, tmp_path

__all__ = ["disk", "other_file_system", "tmp_path"]
