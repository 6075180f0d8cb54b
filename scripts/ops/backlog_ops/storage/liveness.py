"""Whether a process is there."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Somebody else's counts too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
