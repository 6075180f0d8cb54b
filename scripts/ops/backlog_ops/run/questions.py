"""What a run asks a person: whether its commits may go into the base branch (backlog.askBeforeMerge), and whether a
ticket that has become dear may go on (llmOps.budget.spikeFactor).
"""

from __future__ import annotations

from backlog_ops.errors import RunStateError
from backlog_ops.run import journal
from backlog_ops.run.rows import Question, Run, question_of
from backlog_ops.run.store import Store


def open_question(store: Store, run_id: str) -> Question | None:
    """The one about the run that nobody has answered yet."""
    sql = "SELECT * FROM question WHERE run = ? AND ticket IS NULL AND answer IS NULL ORDER BY number DESC LIMIT 1"
    rows = store.rows(sql, run_id)
    return question_of(rows[0]) if rows else None


def question(store: Store, number: int) -> Question:
    rows = store.rows("SELECT * FROM question WHERE number = ?", number)
    if not rows:
        raise RunStateError(f"q{number}: unknown; `backlog-ops status` shows the open question")
    return question_of(rows[0])


def answer_about(store: Store, run_id: str, tip: str) -> str | None:
    """What the person said about these commits; an answer about others does not count."""
    sql = (
        "SELECT answer FROM question WHERE run = ? AND tip = ? AND answer IN ('yes', 'no') ORDER BY number DESC LIMIT 1"
    )
    rows = store.rows(sql, run_id, tip)
    return str(rows[0]["answer"]) if rows else None


def ask_person(store: Store, run: Run, text: str, tip: str) -> None:
    """Ask once; the run waits for the answer."""
    with store.transaction() as db:
        # One about commits that are no longer all there is has become pointless; its number is never used again.
        db.execute("UPDATE question SET answer = 'void' WHERE run = ? AND answer IS NULL AND tip <> ?", (run.id, tip))
        asked = db.execute("SELECT 1 FROM question WHERE run = ? AND tip = ? AND answer IS NULL", (run.id, tip))
        if asked.fetchone() is None:
            db.execute(
                "INSERT INTO question (run, text, tip, asked_at) VALUES (?, ?, ?, ?)",
                (run.id, text, tip, store.clock()),
            )
            store.say_within(db, run.id, None, text)
        journal.settled(db, run.id, None)


def answer(store: Store, asked: Question, said: str) -> None:
    """Keep the person's yes or no. Raises RunStateError where it was answered already."""
    with store.transaction() as db:
        done = db.execute("UPDATE question SET answer = ? WHERE number = ? AND answer IS NULL", (said, asked.number))
        if done.rowcount != 1:
            known = question(store, asked.number).answer
            why = "about commits that are no longer all there is" if known == "void" else f"answered already: {known}"
            raise RunStateError(f"{asked.id}: {why}; `backlog-ops status` shows what is asked")
        if asked.ticket is not None:
            sql = "UPDATE ticket SET held = NULL WHERE run = ? AND id = ? AND held = ?"
            if db.execute(sql, (asked.run, asked.ticket, asked.number)).rowcount != 1:
                raise RunStateError(
                    f"{asked.id}: {asked.ticket} no longer waits for it; `backlog-ops status` shows why"
                )
        store.say_within(db, asked.run, asked.ticket, f"{asked.id}: {said}")
