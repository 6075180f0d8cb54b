"""`bin/backlog-ops` starts this file by its path."""

import os
import sys

if not __package__:
    # Started by path, Python looks for modules beside this file, where ours would shadow others.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from backlog_ops.cli.main import main

sys.exit(main())
