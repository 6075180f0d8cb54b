"""What the guards add to each tool call of a session. The figures, medians, are printed in passing runs too.

The best of the runs counts, because other tests that run beside this one can only make a run slower.
"""

from __future__ import annotations

import sys

from bench.guards import measure

REPEATS = 40  # `make bench` takes more


def test_the_guards_are_as_fast_as_they_have_to_be(tmp_path, capsys):
    measured = measure(tmp_path, REPEATS)
    with capsys.disabled():
        print(*("", *measured), sep="\n", file=sys.stderr)
    assert [each.what for each in measured if each.best_ms > each.limit_ms] == []
