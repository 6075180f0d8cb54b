#!/usr/bin/env python3
"""Check a backlog.config.json: every problem at once, with its line. See --help.

Started by whatever `python3` there is, so this file stays within Python 3.6.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from launcher import bootstrap

if __name__ == "__main__":
    bootstrap.ensure(sys.argv, ("jsonschema",))
    from backlog_ops.cli.validate_config import main

    sys.exit(main(sys.argv[1:]))
