"""A ticket file as a value, strictly: everything that is wrong with it is reported at once, with its line.

Form: contracts.md, "Ticket". The text of a ticket is data; only what this module names is ever acted on.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backlog_ops.domain.frontmatter import (
    Entry,
    FrontmatterError,
    Scalar,
    find_fences,
    read_entries,
)
from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.graph import cycles
from backlog_ops.domain.paths import normal_path
from backlog_ops.domain.settings import TicketValidation
from backlog_ops.domain.text import UNSAFE, hint, quote
from backlog_ops.domain.ticket_body import Body, Criterion, Report, Row, read_body

_BOM = "\ufeff"
_KEYS = ("id", "title", "status", "priority", "tags", "complexity", "depends_on", "affected_files")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SHOWN_CYCLE = 12  # ids of a cycle that are named before it is cut
_Choice = TypeVar("_Choice", TicketStatus, Priority, Complexity)


class FileAction(enum.Enum):
    """What a ticket does to a file; UNKNOWN where only the frontmatter names it."""

    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"
    UNKNOWN = "unknown"


_ACTIONS = {
    "create": FileAction.CREATE,
    "add": FileAction.CREATE,
    "new": FileAction.CREATE,
    "modify": FileAction.MODIFY,
    "change": FileAction.MODIFY,
    "edit": FileAction.MODIFY,
    "update": FileAction.MODIFY,
    "delete": FileAction.DELETE,
    "remove": FileAction.DELETE,
    "": FileAction.UNKNOWN,
}


@dataclass(frozen=True)
class AffectedFile:
    path: str  # normalised, relative to the repository; may be a folder
    action: FileAction


@dataclass(frozen=True)
class Ticket:
    id: str
    title: str
    status: TicketStatus
    priority: Priority
    tags: frozenset[str]  # as written
    complexity: Complexity
    depends_on: tuple[str, ...]
    affected_files: tuple[AffectedFile, ...]
    path: str  # of the ticket file, relative to the repository
    criteria: tuple[Criterion, ...]
    test_strategy: str
    text: str  # the whole file, without a byte order mark
    id_line: int = 1
    depends_on_line: int = 1


@dataclass(frozen=True)
class Problem:
    path: str
    line: int  # 1-based
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def parse_ticket(path: str, data: bytes, rules: TicketValidation) -> tuple[Ticket | None, tuple[Problem, ...]]:
    """Read the ticket file `path` (relative, for messages). Never raises, whatever the bytes.

    With problems the ticket is not fit to run. It is returned all the same where its id could be read, so
    that duplicates and dependencies can be judged for the whole backlog at once.
    """
    problems: list[Problem] = []

    def report(line: int, message: str) -> None:
        problems.append(Problem(path, line, message))

    text = _decode(data, rules.max_bytes, report)
    ticket = _parse(path, text, rules, report) if text is not None else None
    return ticket, tuple(sorted(problems, key=lambda problem: problem.line))


def with_status(data: bytes, status: TicketStatus) -> bytes:
    """The ticket file with another status and no other byte changed; a status line is added where none was.

    Raises ValueError when the frontmatter cannot be read or its status is no plain or quoted word.
    """
    text = data.decode("utf-8")
    mark, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    try:
        fences = find_fences(text)
        entries = read_entries(text, fences)
    except FrontmatterError as error:
        raise ValueError(f"line {error.line}: {error.message}") from None
    value = next((entry.value for entry in entries if entry.key.text == "status"), None)
    if value is None:
        place = entries[0].key.start if entries else fences.end
        indent = text[text.rfind("\n", 0, place) + 1 : place]
        line_end = "\r\n" if text[: fences.start].endswith("\r\n") else "\n"
        return f"{mark}{text[:place]}status: {status}{line_end}{indent}{text[place:]}".encode()
    if not isinstance(value, Scalar) or value.is_block or value.is_empty:
        raise ValueError("the value of `status` is not a single word")
    quotes = text[value.start] if text[value.start] in "\"'" else ""
    return f"{mark}{text[: value.start]}{quotes}{status}{quotes}{text[value.end :]}".encode()


def validate_backlog(tickets: Sequence[Ticket], completed: Collection[str]) -> tuple[Problem, ...]:
    """What is wrong between the pending tickets: ids that meet (also where only their case differs, as
    branches and file names do on some machines), dependencies that nobody knows, circles.

    Ids are matched exactly, whatever the file names. `completed` holds the ids in completed/; a dependency on
    one of them is met.
    """
    problems: list[Problem] = []
    owners: dict[str, tuple[str, str]] = {done.casefold(): (done, "completed/") for done in completed}
    for ticket in tickets:
        taken = owners.setdefault(ticket.id.casefold(), (ticket.id, ticket.path))
        if taken != (ticket.id, ticket.path):
            difference = "is already used" if taken[0] == ticket.id else f"differs only by case from {taken[0]}"
            problems.append(Problem(ticket.path, ticket.id_line, f"id {ticket.id} {difference} in {taken[1]}"))
    by_id = {ticket.id: ticket for ticket in tickets}
    known = {*by_id, *completed}
    spelling = _Spelling(known)
    for ticket in tickets:
        for name in ticket.depends_on:
            if name == ticket.id:
                message = f"{name} depends on itself"
            elif name not in known:
                message = f"depends on {quote(name)}, which no ticket has as its id{spelling.hint(name)}"
            else:
                continue
            problems.append(Problem(ticket.path, ticket.depends_on_line, message))
    graph = {
        name: [d for d in ticket.depends_on if d in by_id and d not in completed] for name, ticket in by_id.items()
    }
    for cycle in cycles(graph):
        first = by_id[cycle[0]]
        shown = [*cycle[:_SHOWN_CYCLE], *(["…"] if len(cycle) > _SHOWN_CYCLE else []), cycle[0]]
        message = f"circular dependency: {' → '.join(shown)}"
        problems.append(Problem(first.path, first.depends_on_line, message))
    return tuple(problems)


class _Spelling:
    """Finds the id that a wrong one stands for among thousands: only ids one edit away are compared."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._near: dict[str, list[str]] = {}

    def hint(self, word: str) -> str:
        if not self._near:
            for name in sorted(self._names):
                for variant in self._variants(name):
                    self._near.setdefault(variant, []).append(name)
        found = (self._near.get(variant, ()) for variant in self._variants(word[:64]))
        return hint(word, dict.fromkeys(name for names in found for name in names))

    @staticmethod
    def _variants(word: str) -> set[str]:
        folded = word.casefold()
        return {folded, *(folded[:i] + folded[i + 1 :] for i in range(len(folded)))}


def _decode(data: bytes, max_bytes: int, report: Report) -> str | None:
    if len(data) > max_bytes:
        report(1, f"is larger than {max_bytes} bytes (ticketValidation.maxBytes): split the ticket")
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report(line, f"is not UTF-8 (byte 0x{data[error.start]:02x}): save the file as UTF-8")
        return None
    if "\0" in text:
        report(text.count("\n", 0, text.index("\0")) + 1, "holds a NUL character: a ticket is a text file")
        return None
    return text.removeprefix(_BOM)


def _parse(path: str, text: str, rules: TicketValidation, report: Report) -> Ticket | None:
    entries: tuple[Entry, ...] = ()
    body_start = 0
    try:
        fences = find_fences(text)
        body_start = fences.body
        entries = read_entries(text, fences)
    except FrontmatterError as error:
        report(error.line, error.message)
        if not body_start:
            return None
        fields = None
    else:
        fields = _Fields(entries, report)
    body = read_body(text[body_start:], text.count("\n", 0, body_start) + 1, report)
    if rules.require_acceptance_criteria and not body.criteria:
        line = body.heading_lines.get("Acceptance Criteria", 1)
        report(line, 'has no acceptance criterion: add "## Acceptance Criteria" with `- [ ] AC-1: …` lines')
    if fields is None:
        return None
    return _ticket(path, text, fields, body, rules, report)


def _ticket(
    path: str, text: str, fields: _Fields, body: Body, rules: TicketValidation, report: Report
) -> Ticket | None:
    files = _affected_files(fields.words("affected_files"), body.rows, report)
    if rules.require_affected_files and not files:
        line = body.heading_lines.get("Affected Files") or fields.line("affected_files")
        report(line, 'names no affected file: list them in `affected_files` or in the table "## Affected Files"')
    ticket_id = _checked_id(fields.required_text("id"), report)
    title = fields.required_text("title")
    ticket = Ticket(
        id=ticket_id or "",
        title=title.text if title else "",
        status=fields.choice("status", TicketStatus.PENDING),
        priority=fields.choice("priority", Priority.MEDIUM),
        tags=frozenset(tag.text for tag in fields.words("tags")),
        complexity=fields.choice("complexity", Complexity.MEDIUM),
        depends_on=tuple(dict.fromkeys(name.text for name in fields.words("depends_on"))),
        affected_files=files,
        path=path,
        criteria=body.criteria,
        test_strategy=body.test_strategy,
        text=text,
        id_line=fields.line("id"),
        depends_on_line=fields.line("depends_on"),
    )
    return ticket if ticket_id else None


def _checked_id(value: Scalar | None, report: Report) -> str | None:
    """An id that can be a file name and a part of a git branch, on every machine."""
    if value is None:
        return None
    name = value.text
    if not _ID.fullmatch(name) or ".." in name or name.endswith(".") or name.casefold().endswith(".lock"):
        report(
            value.line,
            f"id {quote(name)} cannot name a branch and a file: use at most 64 letters, digits, `.`, `_`, `-`, "
            "no `-` or `.` in front, no `..`, no `.` or `.lock` at the end",
        )
        return None
    return name


def _affected_files(listed: Sequence[Scalar], rows: Sequence[Row], report: Report) -> tuple[AffectedFile, ...]:
    """The frontmatter's list and the table's rows as one, each path once."""
    actions: dict[str, FileAction] = {}
    for line, written, word in (
        *((scalar.line, scalar.text, "") for scalar in listed),
        *((row.line, row.path, row.action) for row in rows),
    ):
        action = _ACTIONS.get(word.casefold())
        if action is None:
            report(line, f"action {quote(word)} is none of create, modify, delete{hint(word, filter(None, _ACTIONS))}")
        try:
            path = normal_path(written)
        except ValueError as error:
            report(line, f"affected file {quote(written)} {error}")
            continue
        before = actions.get(path, FileAction.UNKNOWN)
        after = action or FileAction.UNKNOWN
        if FileAction.UNKNOWN not in (before, after) and before is not after:
            report(line, f"affected file {quote(path)} is said to {before.value} and to {after.value}")
        actions[path] = before if after is FileAction.UNKNOWN else after
    return tuple(AffectedFile(path, action) for path, action in actions.items())


class _Fields:
    """The frontmatter's keys by type; reports what does not fit, and keeps going with the default."""

    def __init__(self, entries: Sequence[Entry], report: Report) -> None:
        self._report = report
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            key = entry.key
            if key.text not in _KEYS:
                report(key.line, f"unknown key {quote(key.text)}{hint(key.text, _KEYS)}")
            elif key.text in self._entries:
                first = self._entries[key.text].key.line
                report(key.line, f"`{key.text}` is given twice; the first is on line {first}")
            else:
                self._entries[key.text] = entry

    def line(self, key: str) -> int:
        return self._entries[key].key.line if key in self._entries else 1

    def required_text(self, key: str) -> Scalar | None:
        if key not in self._entries:
            self._report(1, f"`{key}` is missing from the frontmatter")
            return None
        value = self._entries[key].value
        if not isinstance(value, Scalar):
            self._report(self.line(key), f"`{key}` must be text, not a list")
            return None
        return value if self._is_one_line_of_text(key, value) else None

    def words(self, key: str) -> tuple[Scalar, ...]:
        if key not in self._entries:
            return ()
        value = self._entries[key].value
        if isinstance(value, Scalar):
            if not value.is_empty:
                self._report(value.line, f"`{key}` must be a list: put {quote(value.text)} in [ ]")
            return ()
        return tuple(item for item in value if self._is_one_line_of_text(key, item))

    def choice(self, key: str, default: _Choice) -> _Choice:
        if key not in self._entries:
            return default
        value = self._entries[key].value
        choices: Mapping[str, _Choice] = {member.value: member for member in type(default)}
        written = value.text if isinstance(value, Scalar) and not value.is_block else ""
        if written in choices:
            return choices[written]
        named = f" {quote(written)}" if written else ""
        self._report(self.line(key), f"`{key}`{named} must be one of {', '.join(choices)}{hint(written, choices)}")
        return default

    def _is_one_line_of_text(self, key: str, value: Scalar) -> bool:
        if not value.is_text and not value.is_empty:
            self._report(value.line, f"`{key}`: YAML reads {quote(value.text)} as something else than text: quote it")
        elif UNSAFE.search(value.text):
            self._report(value.line, f"`{key}`: {quote(value.text)} holds a line break or control character")
        elif not value.text.strip():
            self._report(value.line, f"`{key}` holds an empty text")
        else:
            return True
        return False
