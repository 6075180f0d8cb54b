"""Whether a place can be written to, by trying: permission bits say little to root, and nothing of a full disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PROBE_BYTES = 1 << 20


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if os.path.isdir(place))


def write_error(folder: Path) -> OSError | None:
    """What the system answers when something is written into a folder, or above it where it is not there yet."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as probe:  # on Linux it never gets a name
            probe.write(b"\0" * PROBE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error
    return None
