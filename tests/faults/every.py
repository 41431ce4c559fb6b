"""All faults, in the order in which they are inflicted."""

from __future__ import annotations

from faults import (
    burst_while_stopped,
    clock_set_back,
    copies,
    disk_full,
    few_instances,
    few_watches,
    folder_gone,
    fsync_error,
    mirrored,
    mount_gone,
    pausing_writer,
    picture_that_kills,
    preallocating_writer,
    read_only_done,
    server_down,
    swept,
)

FAULTS = (
    disk_full,
    read_only_done,
    fsync_error,
    server_down,
    folder_gone,
    mount_gone,
    picture_that_kills,
    clock_set_back,
    few_watches,
    few_instances,
    mirrored,
    swept,
    pausing_writer,
    preallocating_writer,
    copies,
    burst_while_stopped,
)
