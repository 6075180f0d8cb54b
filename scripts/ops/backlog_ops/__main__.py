"""`bin/backlog-ops` starts this file by its path."""

import os
import sys

if (
    not __package__
):  # started by path: Python put this file's own folder first, where its siblings would shadow others
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from backlog_ops.cli.main import main

sys.exit(main())
