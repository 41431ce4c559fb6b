"""Imported by Python at its start where this folder is on PYTHONPATH: the wall clock goes back and back."""

import itertools
import time

_days = itertools.count()
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() - 86_400 * next(_days)
time.time_ns = lambda: _time_ns() - 86_400 * 10**9 * next(_days)
