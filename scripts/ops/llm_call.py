#!/usr/bin/env python3
"""Ask a model one thing: `echo PROMPT | llm_call.py --model free`. `--help` says the rest.

Started by whatever `python3` a user has, so this file keeps to Python 3.6 until `ensure` has found a newer one.
"""

import os
import sys
from importlib.machinery import PathFinder

MODULES = ("httpx", "jsonschema")

if __name__ == "__main__":
    # Under -P or PYTHONSAFEPATH Python does not look beside the script by itself.
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

    # Asked here first, because importing the bootstrap takes a fifth of the time of a whole call.
    if sys.version_info < (3, 10) or not all(map(PathFinder.find_spec, MODULES)):
        from launcher.bootstrap import ensure

        # Optional: a local model without --json-schema can be asked with the standard library alone.
        ensure(sys.argv, MODULES, optional=True)

    from backlog_ops.cli.llm_call import main

    sys.exit(main())
