"""The run database after whatever befell it: what was committed, whole, or one line that says what is wrong.

Never a new, empty one in its place. (A file of a newer version, one that is cut and one that is none:
test_cli_bad_place.py.)
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlog_ops.storage import database, database_file
from backlog_ops.storage.database import connect, transaction
from backlog_ops.storage.database_file import DatabaseTroubleError
from backlog_ops.storage.locations import PLUGIN_ROOT
from backlog_ops.storage.migrations import MIGRATIONS

RUN = (
    "INSERT INTO run (id, state, created_at, top, base_branch, base_commit, branch)"
    " VALUES ('r', 'open', 1.0, '', '', '', '')"
)
EVENT = "INSERT INTO event (run, at, ticket, text) VALUES ('r', ?, ?, ?)"
# Commits a pair of rows in one transaction, again and again, and says so; now and then it copies the log into the file.
WRITER = f"""
import sys
from pathlib import Path
from backlog_ops.storage.database import connect, transaction
opened, text = connect(Path(sys.argv[1])), "x" * int(sys.argv[2])
number = int(opened.execute("SELECT coalesce(max(at), 0) FROM event").fetchone()[0])
if not number:
    opened.execute({RUN!r})
while True:
    number += 1
    with transaction(opened):
        opened.executemany({EVENT!r}, [(number, half, text) for half in "ab"])
    print(number, flush=True)
    if number % 50 == 0:
        opened.execute("PRAGMA wal_checkpoint(PASSIVE)")
"""
MAKER = """
import sys
from pathlib import Path
from backlog_ops.storage.database import connect
print(flush=True)
connect(Path(sys.argv[1]))
"""


@contextlib.contextmanager
def python(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python of its own, killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(PLUGIN_ROOT / "scripts" / "ops")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def killed_after(path: Path, transactions: int, size: int = 500) -> int:
    """Kill a writer in the middle of its work, some time after so many transactions; the last one it has reported."""
    with python(WRITER, path, size) as process:
        assert process.stdout is not None
        for _ in range(transactions):
            last = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        return int([last, *process.stdout.read().splitlines()][-1])


def transactions_in(path: Path) -> list[int]:
    """The numbers of the transactions that are there; each of them whole."""
    found: dict[int, str] = {}
    with contextlib.closing(connect(path)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for at, half in opened.execute("SELECT at, ticket FROM event ORDER BY number"):
            found[int(at)] = found.get(int(at), "") + half
    assert set(found.values()) <= {"ab"}
    return list(found)


def assert_whole_or_refused(path: Path) -> None:
    try:
        found = transactions_in(path)
    except DatabaseTroubleError as error:
        assert error.message.startswith(f"{path}: cannot open the run database (")
        assert "\n" not in error.message
        return
    assert found == list(range(1, len(found) + 1))


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "state.db"


# -- kills


def test_killed_in_the_middle_of_writing_many_times(path):
    """Whatever was reported as committed is there, and the next writer goes on from it."""
    chance = random.Random(1)
    for _ in range(25):
        reported = killed_after(path, chance.randrange(1, 120))
        found = transactions_in(path)
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= reported


def test_killed_while_it_is_made(path):
    """A whole one, or none; and nothing of the try stays behind."""
    chance = random.Random(2)
    for _ in range(12):
        with python(MAKER, path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.random() * 0.02)
        connect(path).close()
        assert [file.name for file in path.parent.iterdir()] == ["state.db"]
        path.unlink()


def test_what_one_who_was_killed_left_of_making_it_is_removed(path):
    path.parent.mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, of_one_at_work = (beside(path, f".new-{pid}-1") for pid in (ended.pid, os.getpid()))
    left.touch()
    of_one_at_work.touch()
    connect(path).close()
    assert sorted(path.parent.iterdir()) == [path, of_one_at_work]
    os.link(path, left)  # killed just after it had given the name
    connect(path).close()
    assert sorted(path.parent.iterdir()) == [path, of_one_at_work]


def test_many_at_once_make_one(path):
    barrier = threading.Barrier(8)
    wrong: list[Exception] = []

    def opening() -> None:
        barrier.wait()
        try:
            connect(path).close()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(path.parent.iterdir()) == [path]


# -- what becomes of the log


@pytest.mark.parametrize("seed", range(12))
def test_a_log_that_is_cut_anywhere_leaves_whole_transactions_or_a_clear_line(path, seed):
    chance = random.Random(seed)
    killed_after(path, chance.randrange(60, 200))
    log = beside(path, "-wal")
    os.truncate(log, chance.randrange(log.stat().st_size))
    assert_whole_or_refused(path)


@pytest.mark.parametrize("seed", range(12))
def test_a_log_with_wrong_bytes_leaves_whole_transactions_or_a_clear_line(path, seed):
    chance = random.Random(seed)
    killed_after(path, chance.randrange(60, 200))
    with open(beside(path, "-wal"), "r+b") as log:
        log.seek(chance.randrange(log.seek(0, os.SEEK_END)))
        log.write(chance.randbytes(300))
    assert_whole_or_refused(path)


@pytest.mark.parametrize("endings", [("-wal",), ("-shm",), ("-wal", "-shm")])
@pytest.mark.parametrize("transactions", [1, 49, 51, 99])
def test_a_log_that_is_removed_leaves_whole_transactions_or_a_clear_line(path, endings, transactions):
    killed_after(path, transactions)
    for ending in endings:
        beside(path, ending).unlink()
    assert_whole_or_refused(path)


def test_a_log_that_is_cut_behind_what_was_copied_from_it_is_no_mixture_of_old_and_new(path):
    """All pages are in the file already, and the log is cut: SQLite itself takes old pages from what is left of it."""
    child = os.fork()
    if child == 0:
        opened = connect(path)
        opened.execute(RUN)
        for number in range(1, 61):
            with transaction(opened):
                opened.executemany(EVENT, [(number, half, "x" * 700) for half in "ab"])
        opened.execute("PRAGMA wal_checkpoint(PASSIVE)")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    kept = {file: file.read_bytes() for file in path.parent.iterdir()}
    for size in range(0, len(kept[beside(path, "-wal")]), 5 * 4120):
        for file, data in kept.items():
            file.write_bytes(data)
        os.truncate(beside(path, "-wal"), size)
        assert_whole_or_refused(path)


# -- what becomes of the file


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"not a database\n" * 500])
def test_a_file_that_was_emptied_or_overwritten_is_refused_and_kept(path, content):
    connect(path).close()
    path.write_bytes(content)
    with pytest.raises(DatabaseTroubleError, match=r"cannot open the run database \(.*move the file away"):
        connect(path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_kept(path):
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(DatabaseTroubleError, match="it is empty, or another program's"):
        connect(path)
    assert path.read_bytes() == before


def test_a_file_that_is_removed_from_beside_its_log_is_not_made_anew(path):
    killed_after(path, 3)
    path.unlink()
    with pytest.raises(DatabaseTroubleError, match=r"it is gone, only state\.db-wal is left"):
        connect(path)
    assert not path.exists()


@pytest.mark.parametrize("comes", ["nothing", "another"])
def test_a_file_that_is_removed_while_it_is_in_use_is_noticed_before_anything_is_lost(path, comes):
    """SQLite itself would go on writing into the removed file, and nobody would ever find it."""
    opened = connect(path)
    for ending in ("", "-wal", "-shm"):
        beside(path, ending).unlink()
    if comes == "another":
        connect(path).close()
    written = []
    with pytest.raises(DatabaseTroubleError, match="it is gone or was replaced"), transaction(opened):
        written.append("something")
    assert (written, opened.in_transaction) == ([], False)


@pytest.mark.parametrize("seed", range(12))
def test_wrong_bytes_in_the_file_leave_whole_transactions_or_a_clear_line(path, seed):
    chance = random.Random(seed)
    killed_after(path, 120, size=3000)
    with open(path, "r+b") as file:
        for _ in range(20):
            file.seek(chance.randrange(4096, file.seek(0, os.SEEK_END)))
            file.write(chance.randbytes(200))
    assert_whole_or_refused(path)


def test_looking_for_damage_ends_when_its_time_is_up(path, monkeypatch):
    opened = connect(path)
    with transaction(opened):
        opened.execute(RUN)
        opened.executemany(EVENT, [(number, "a", "x" * 50) for number in range(20_000)])
    monkeypatch.setattr(database_file, "CHECK_SECONDS", -1.0)
    connect(path).close()
    assert opened.execute("SELECT count(*) FROM event").fetchone()[0] == 20_000


# -- older ones


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_up_to_date_whole_or_not_at_all(path, version, monkeypatch):
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:version])
    connect(path).close()
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE half (a);", "THIS IS NO STATEMENT;"))
    with pytest.raises(DatabaseTroubleError):
        connect(path)
    with contextlib.closing(sqlite3.connect(path)) as left:
        assert left.execute("PRAGMA user_version").fetchone()[0] == version
        assert left.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone()[0] == 0
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS)
    with contextlib.closing(connect(path)) as done:
        assert done.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
