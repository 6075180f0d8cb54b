"""Create-then-import pairs: which ticket uses a file that another one creates."""

import time

import pytest

from backlog_ops.domain.created_files import users_of_created_files
from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.tickets import AffectedFile, FileAction, Ticket


def ticket(id_, text="", creates=(), modifies=()):
    files = [AffectedFile(path, FileAction.CREATE) for path in creates]
    files += [AffectedFile(path, FileAction.MODIFY) for path in modifies]
    return Ticket(
        id=id_,
        title="T",
        status=TicketStatus.PENDING,
        priority=Priority.MEDIUM,
        tags=frozenset(),
        complexity=Complexity.LOW,
        depends_on=(),
        affected_files=tuple(files),
        path=f"{id_}.md",
        criteria=(),
        test_strategy="",
        text=text,
    )


def used_by(text, *created, modifies=()):
    """The paths among `created` (one ticket each) that a ticket with `text` uses."""
    creators = [ticket(f"C{number}", creates=[path]) for number, path in enumerate(created)]
    return set(users_of_created_files([*creators, ticket("U", text, modifies=modifies)])["U"])


TOKEN = "src/auth/token.py"


@pytest.mark.parametrize(
    "text",
    [
        "Call src/auth/token.py.",
        "(`./src/auth/token.py:12`)",
        "[the file](src/auth/token.py)",
        "https://example.org/o/r/blob/main/src/auth/token.py",
        "import src.auth.token as t",
        "src.auth.token.verify(x)",
        "from auth.token import verify",
        "from .auth import token",
        "from auth import login, token",
        "from token import verify",
        "import token",
        "import { verify } from '../auth/token'",
        'const t = require("./token")',
        "import verify from '@/auth/token.js'",
        "use crate::auth::token; // see auth::token",
        "example.com/x/src/auth/token",
    ],
)
def test_a_text_that_names_a_created_file_uses_it(text):
    assert used_by(text, TOKEN) == {TOKEN}


@pytest.mark.parametrize(
    "text",
    [
        "Refresh the token.",
        "The token and auth are old.",
        "tests/auth/token.py",
        "src/auth/token_store.py",
        "other.auth.token",
        "from tokens import x",
        "auth, token",
        "src/auth / token.py",
    ],
)
def test_a_text_that_names_something_else_does_not(text):
    assert used_by(text, TOKEN) == set()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/auth/__init__.py", "from auth import x"),
        ("src/auth/__init__.py", "src/auth/token.py"),
        ("web/button/index.ts", "import B from './button'"),
        ("src/net/mod.rs", "use src::net::Client"),
        ("Makefile", "run by the Makefile"),
        ("billing.py", "see billing.py"),
        ("billing.py", "import billing"),
        ("app/[id]/page.tsx", "app/[id]/page.tsx"),
        ("app/(shop)/page.tsx", "`app/(shop)/page.tsx`"),
        (".github/workflows/ci.yml", ".github/workflows/ci.yml"),
        ("docs", "docs/guide.md"),
        ("include/auth/token.h", '#include "auth/token.h"'),
        ("src/main/java/com/acme/Token.java", "import com.acme.Token;"),
    ],
)
def test_every_kind_of_module_can_be_named(path, text):
    assert used_by(text, path) == {path.casefold()}


def test_listing_a_created_file_or_a_path_inside_a_created_folder_uses_it():
    assert used_by("", TOKEN, modifies=["./src/auth/token.py"]) == {TOKEN}
    assert used_by("", "src/auth", modifies=[TOKEN]) == {"src/auth"}


def test_naming_a_created_file_names_the_created_folder_that_holds_it():
    assert used_by(TOKEN, "src/auth", TOKEN) == {"src/auth", TOKEN}


def test_a_short_name_of_several_created_files_names_none():
    assert used_by("auth/token", "a/auth/token.py", "b/auth/token.py") == set()
    assert used_by("a/auth/token", "a/auth/token.py", "b/auth/token.py") == {"a/auth/token.py"}


def test_a_whole_path_names_its_own_file_beside_one_with_another_extension():
    assert used_by("src/card.css", "src/card.tsx", "src/card.css") == {"src/card.css"}


@pytest.mark.parametrize(
    "text",
    [
        "a" * 250000,
        "a/" * 120000,
        "a." * 120000,
        "." * 250000,
        "from " * 50000,
        "from " + " " * 250000,
        "import '" * 30000,
        "import '" + "x" * 250000,
        "from a" + " " * 250000 + "b",
        "-" * 250000,
        "a" + "/" * 250000,
    ],
)
def test_a_hostile_text_is_searched_in_linear_time(text):
    began = time.perf_counter()
    used_by(text, TOKEN, "a/a/a.py")
    assert time.perf_counter() - began < 2
