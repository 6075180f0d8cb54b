"""How fast eight processes write the ledger together, and that none of their rows is lost or there twice.

    ledger one row a transaction    …  what a call costs that is booked as it ends
    ledger a transcript's calls     …  500 rows in a transaction, as transcripts are booked

What the disk can sync is printed beside: a row that is a transaction of its own is one sync (docs/reliability.md).
Each process writes 10,000 rows of its own, and every 100th time one that all of them write. `python bench/ledger.py
[ROWS]`; rows per second of all together, beside their limit; exit 1 below it, or where a row is missing or double.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from itertools import count, islice
from multiprocessing.synchronize import Barrier
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import Receipt, record, record_all
from backlog_ops.storage.config_file import load_prices
from backlog_ops.storage.database import connect, transaction

PROCESSES = 8
ROWS = 10_000
SHARED_EVERY = 100
IN_A_TRANSACTION = 500
LEAST_ROWS_A_SECOND = 5_000  # issue D, "Speed"
WAYS = {"one row a transaction": 1, "a transcript's calls": IN_A_TRANSACTION}
MODEL = "claude-haiku-5-5"
NOON = 1_795_521_600.0  # 2026-11-24
USAGE = Usage(input=12, cache_write_5m=1_500, cache_read=14_000, output=250)
COST = load_prices().cost(MODEL, USAGE, "2026-11-24")


def receipt(writer: int, number: int) -> Receipt:
    shared = number % SHARED_EVERY == 0  # such as a transcript that several read at once
    return Receipt(
        key=f"claude/msg_{number if shared else writer * 1_000_000 + number:032x}",
        at=NOON + number,
        source="session",
        asked_tier="cheap",
        asked_model=MODEL,
        provider="claude-code",
        answered_model=MODEL,
        usage=USAGE,
        cost_nanousd=COST,
        price_date="2026-11-23",
        latency_ms=4_000,
        outcome="answered",
        run="20261124-120000-abcd",
        wave=1,
        ticket=f"T-{number % 24}",
        gate="IMPLEMENT",
        attempt=1,
        escalation_rule="entry",
        tags={"asked": "haiku"},
        session="5e551000-0000-4000-8000-000000000001",
        agent=f"a{writer:016x}",
    )


def write(path: Path, writer: int, rows: int, batch: int, start: Barrier) -> None:
    """One process. `batch`: rows in a transaction."""
    connection = connect(path)
    receipts = iter([receipt(writer, number) for number in range(rows)])
    start.wait()
    if batch == 1:
        for one in receipts:
            record(connection, one)
        return
    for _ in count():
        some = list(islice(receipts, batch))
        if not some:
            return
        with transaction(connection):
            record_all(connection, some)


def measure(folder: Path, name: str, batch: int, rows: int) -> bool:
    path = folder / f"{batch}.db"
    connect(path).close()
    spawning = multiprocessing.get_context("spawn")
    start = spawning.Barrier(PROCESSES + 1)
    processes = [
        spawning.Process(target=write, args=(path, number, rows, batch, start)) for number in range(1, PROCESSES + 1)
    ]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - began
    shared = len(range(0, rows, SHARED_EVERY))
    wanted = PROCESSES * (rows - shared) + shared
    lost = wanted - _rows(path)
    rate = PROCESSES * rows / seconds
    failed = any(process.exitcode for process in processes)
    good = rate >= LEAST_ROWS_A_SECOND and not lost and not failed
    says = "ok" if good else f"{lost} LOST OR DOUBLE" if lost else "A WRITER FAILED" if failed else "TOO SLOW"
    print(f"ledger {name:24} {rate:8,.0f} rows/s   limit {LEAST_ROWS_A_SECOND:,} rows/s   {says}")
    return good


def _rows(path: Path) -> int:
    """How many there are, and that every sum over them is right."""
    with sqlite3.connect(path) as connection:
        rows, keys, nanousd = connection.execute(
            "SELECT count(*), count(DISTINCT key), sum(cost_nanousd) FROM ledger"
        ).fetchone()
        tallied = connection.execute("SELECT sum(calls), sum(nanousd) FROM tally").fetchone()
    if (rows, rows * (COST or 0)) != (keys, nanousd) or tallied != (rows, nanousd):
        raise SystemExit(f"bench/ledger.py: {rows} rows, {keys} keys, {nanousd} nano-dollars; the tally has {tallied}")
    return int(rows)


def _syncs(path: Path, times: int = 1_000) -> float:
    """A second, by one writer."""
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(times):
            file.write(bytes(4_096))
            os.fsync(file.fileno())
    return times / (time.perf_counter() - began)


def main() -> int:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        print(f"ledger the disk alone             {_syncs(Path(folder) / 'synced'):8,.0f} syncs/s of 4 kB")
        return 0 if all([measure(Path(folder), name, batch, rows) for name, batch in WAYS.items()]) else 1


if __name__ == "__main__":
    sys.exit(main())
