"""Becomes another program once the minder has been told of it, so that no instant lies between the two.

    python -ISE minded.py PIPE REPORT LOCALE PROGRAM ARGUMENTS…       which only `processes.py` starts

PIPE and REPORT are inherited descriptors, closed as the program begins. PIPE leads to the minder; on REPORT comes `+`,
and after it the errno where the program cannot be run. LOCALE is `unset` where there was no LC_CTYPE: this Python has
set one then (PEP 538). The environment, the folder and all else stay as they are.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    pipe, report, locale, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    for descriptor in (pipe, report):
        os.set_inheritable(descriptor, False)
    try:  # noqa: SIM105 — importing contextlib takes longer than all this
        os.write(pipe, b"+%d\n" % os.getpid())
    except OSError:
        pass  # that minder is gone; the engine tells the next one
    os.write(report, b"+")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
        signal.signal(number, signal.SIG_DFL)
    if locale == "unset":
        os.environ.pop("LC_CTYPE", None)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        os.write(report, b"%d" % (error.errno or 0))
    os._exit(127)


if __name__ == "__main__":
    main()
