"""Secrets in what a ticket adds: found wherever they stand, and told without their values.

Every fake secret here is put together at run time, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backlog_ops.errors import BacklogError, ConfigurationError
from backlog_ops.run.git import Git
from backlog_ops.run.secret_scan import (
    BASELINE,
    BASELINE_CHANGED,
    NOT_SCANNED,
    FoundSecret,
    Hidden,
    find_secrets,
    redacted,
)
from tests.support.lab import Lab

SOURCES = Path(__file__).resolve().parents[2] / "scripts" / "ops"


def _part(claims: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _jwt(size: int) -> str:
    return ".".join([_part({"alg": "HS256"}), _part({"sub": "ab" * size}), "x7Qz" * 11])


AWS = "AK" + "IA" + "Q3ZP" * 4
GITHUB = "gh" + "p_" + "a1B2c3" * 6
JOB_TOKEN = "glc" + "bt-" + "a1B2c3D4" * 3
PHRASE = "correct-horse-battery"
PEM = "-----BEGIN " + "RSA PRIVATE " + "KEY-----"
KEY_BODY = ["MIIEpAIBAAKCAQEA" + letter * 48 for letter in "abc"]
PEM_END = "-----END " + "RSA PRIVATE " + "KEY-----"


def assigned(value: str, name: str = "pass" + "word") -> str:
    return f'{name} = "{value}"'


def url(password: str) -> str:
    return "postgres:" + f"//app:{password}@db.example/main"


class Repository:
    """Trees made out of nothing but their content: no work tree is there to be read."""

    def __init__(self, folder: Path) -> None:
        self.git = Git(folder)
        self.git.run("init", "--quiet", "--template=")

    def tree(self, files: Mapping[str, str | bytes], mode: str = "100644") -> str:
        self.git.run("read-tree", "--empty")
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            blob = self.git.text("hash-object", "-w", "--stdin", stdin=data)
            entry = f"{mode} {blob}\t".encode() + path.encode("utf-8", "surrogateescape") + b"\0"
            self.git.run("update-index", "-z", "--index-info", stdin=entry)
        return self.git.text("write-tree")

    def find(self, before: Mapping[str, str | bytes], after: Mapping[str, str | bytes], **options: float):
        return find_secrets(self.git, self.tree(before), self.tree(after), **options)

    def added(self, *lines: str, path: str = "a.py"):
        """What is found where a file of these lines is new."""
        return self.find({}, {path: "".join(f"{line}\n" for line in lines)})

    def allowing(self, baseline: object, **files: str):
        """What is found in the files beside a committed baseline."""
        held = {BASELINE: baseline if isinstance(baseline, str | bytes) else json.dumps(baseline)}
        return self.find(held, {**held, **{name.replace("_", "."): content for name, content in files.items()}})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


def places(found) -> list[tuple[str, int]]:
    return [(secret.path, secret.line) for secret in found]


def kinds(found) -> set[str]:
    return {secret.kind for secret in found}


# ── What is found ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_in_an_added_line_is_told_with_its_place_and_kind(repository):
    (secret,) = repository.added("", f"key = '{AWS}'")
    assert str(secret) == "a.py:2: AWS Access Key"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"x = {GITHUB!r}", "GitHub Token"),
        ("t: " + "gl" + "pat-" + "a1B2c3D4" * 3, "GitLab Token"),
        (f"t: {JOB_TOKEN}", "GitLab Token"),
        ("xo" + "xb-" + "123456-" * 2 + "abcDEF", "Slack Token"),
        ("sk" + "_live_" + "a1B2c3D4" * 3, "Stripe Access Key"),
        (_jwt(10), "JSON Web Token"),
        (f"  {PEM}", "Private Key"),
        (url("hunter22"), "Basic Auth Credentials"),
        (assigned(PHRASE), "Secret Keyword"),
        (f"client = connect('{AWS}')", "AWS Access Key"),
    ],
)
def test_each_kind_of_secret_is_found(repository, line, kind):
    assert kind in kinds(repository.added(line))


@pytest.mark.parametrize(
    "line",
    [
        "revision = '3f786850e387550fdab836ed7e6dc881de23001b'",
        "integrity: sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "id = '123e4567-e89b-12d3-a456-426614174000'",
        "host = '203.0.113.7'; version = '1.2.3.4'",
        url("$PASSWORD"),
        url("{pw}"),
        assigned("${TOKEN}"),
        assigned("<yours>"),
        "pass" + "word = request.form['field']",
    ],
)
def test_hashes_addresses_and_placeholders_are_no_alarm(repository, line):
    assert repository.added(line) == []


@pytest.mark.parametrize("name", [".env", "deploy/.env.local", "prod.env"])
def test_values_without_quotes_are_found_in_a_dotenv_file(repository, name):
    assert places(repository.added("API" + "_KEY=" + PHRASE, path=name)) == [(name, 1)]


def test_a_sample_of_a_dotenv_file_may_show_what_goes_where(repository):
    assert repository.added("API" + "_KEY=put-yours-here", path=".env.example") == []


def test_what_was_there_before_is_not_looked_at(repository):
    before = f"first\n{AWS}\nlast\n"
    assert repository.find({"a.py": before}, {"a.py": before + "more\n"}) == []
    assert repository.find({"a.py": before}, {"a.py": "first\nlast\n"}) == []
    assert repository.find({"a.py": before}, {}) == []


def test_lines_are_counted_in_the_new_version(repository):
    before = [f"line {number}\n" for number in range(1, 21)]
    after = [before[0], *before[3:8], f"{AWS}\n", *before[9:18], "more\n", f"{AWS}\n", before[18]]
    found = repository.find({"a.py": "".join(before)}, {"a.py": "".join(after)})
    assert [after[line - 1] for _, line in places(found)] == [f"{AWS}\n", f"{AWS}\n"]


def test_a_moved_file_is_new_in_full(repository):
    assert places(repository.find({"old.py": AWS}, {"new.py": AWS})) == [("new.py", 1)]


def test_what_a_link_points_to_is_looked_at(repository):
    tree = repository.tree({"link": f"/data/{AWS}"}, mode="120000")
    assert places(find_secrets(repository.git, repository.tree({}), tree)) == [("link", 1)]


def test_a_submodule_is_no_trouble(repository):
    before = repository.tree({})
    repository.git.run("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    assert find_secrets(repository.git, before, repository.git.text("write-tree")) == []


# ── What must not fool it ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "two words.py",
        "line\nbreak.py",
        'quo"te\\back.py',
        "tab\tand space .py",
        "näme → 名.py",
        "\udcff\udcfe.py",
        " b/b/a.py",
        "b/x\r.py",
        "-u.py",
    ],
)
def test_any_file_name_comes_back_as_it_is(repository, name):
    assert places(repository.added("x", AWS, path=name)) == [(name, 2)]


def test_content_that_looks_like_a_diff_is_content(repository):
    forged = [
        "++ b/elsewhere.py",
        "++ /dev/null",
        "@@ -1,9 +1,9 @@",
        "diff --git a/x b/x",
        "\\ No newline at end of file",
    ]
    removed = "".join(f"{line}\n" for line in ["-- a/elsewhere.py", "@@ -1 +1 @@"])
    added = "".join(f"{line}\n" for line in [*forged, AWS])
    assert places(repository.find({"a.py": removed}, {"a.py": added})) == [("a.py", 6)]


def test_a_missing_last_newline_moves_no_line(repository):
    found = repository.find({"a.py": "one\ntwo", "b.py": "one"}, {"a.py": f"one\n2\n{AWS}", "b.py": f"{AWS}"})
    assert places(found) == [("a.py", 3), ("b.py", 1)]


def test_carriage_returns_belong_to_no_value(repository):
    found = repository.added("one\r", "PASS" + f"WORD={PHRASE}\r", path="x.ini")
    assert places(found) == [("x.ini", 2)]
    assert redacted(f"[{PHRASE}]", found) == "[[secret: Secret Keyword]]"


def test_bytes_that_are_no_text_hide_nothing(repository):
    found = repository.find({}, {"a.py": b"\xff\xfe\x80 caf\xe9\n" + b"\xc3" + AWS.encode() + b"\xc3\n"})
    assert places(found) == [("a.py", 2)]


@pytest.mark.parametrize("attribute", ["-diff", "binary", "diff=own"])
def test_attributes_that_keep_a_file_out_of_diffs_do_not_keep_it_out_of_this(repository, attribute):
    (repository.git.folder / ".gitattributes").write_text(f"*.py {attribute}\n", encoding="utf-8")
    repository.git.run("config", "diff.own.binary", "true")
    repository.git.run("config", "diff.own.textconv", "true")
    assert places(repository.added(AWS)) == [("a.py", 1)]


def test_settings_for_diffs_change_nothing(repository, monkeypatch):
    settings = {
        **{"diff.external": "false", "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "color.ui": "always"},
        **{"diff.renames": "copies", "diff.interHunkContext": "9", "diff.context": "9", "core.quotePath": "false"},
        **{"diff.suppressBlankEmpty": "true", "diff.submodule": "diff"},
    }
    for name, value in settings.items():
        repository.git.run("config", name, value)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=9")
    before = {"ä.py": "1\n\n3\n4\n5\n"}
    assert places(repository.find(before, {"ä.py": f"1\n\n3\n{AWS}\n5\n{AWS}\n"})) == [("ä.py", 4), ("ä.py", 6)]


def test_a_binary_file_is_skipped(repository):
    assert repository.find({}, {"a.png": b"\x89PNG\0\n" + AWS.encode() + b"\n"}) == []


def test_a_zero_byte_far_down_makes_no_binary_file(repository):
    text = b"line\n" * 2_000 + b"\0\n" + AWS.encode() + b"\n"
    assert places(repository.find({}, {"a.py": text})) == [("a.py", 2_002)]


@pytest.mark.parametrize("before", [0, 600, 900, 2_400, 2_600, 3_990, 60_000])
@pytest.mark.parametrize("secret", [GITHUB, _jwt(300), assigned(PHRASE)], ids=["token", "long token", "value"])
def test_a_secret_in_a_very_long_line_is_found_whole(repository, secret, before):
    code = "f(x); "
    line = (code * before)[:before] + f'"{secret}";' + code * 1_000
    found = repository.added(line.replace('""', '"'), path="bundle.js")
    assert set(places(found)) == {("bundle.js", 1)}
    value = PHRASE if PHRASE in secret else secret
    assert value not in redacted(line, found)
    assert value[len(value) // 2 :] not in redacted(value, found)


def test_a_line_that_would_take_for_ever_is_told_in_time(repository):
    found = repository.find({}, {"a.js": "secret" * 50_000, "b.js": AWS}, seconds=0.3)
    assert [(secret.path, secret.kind) for secret in found] == [("a.js", NOT_SCANNED), ("b.js", NOT_SCANNED)]


# ── What is allowed ────────────────────────────────────────────────────────────────────────────────────────


def test_a_comment_in_the_added_line_allows_nothing(repository):
    comment = "  # pragma: allow" + "list secret"
    assert places(repository.added(AWS + comment, assigned(PHRASE) + comment)) == [("a.py", 1), ("a.py", 2)]


def test_what_the_library_s_own_scan_has_listed_is_allowed(repository):
    lines = [f"key = '{AWS}'", assigned(PHRASE), f"token = {GITHUB!r}", PEM]
    text = "".join(f"{line}\n" for line in lines)
    config = f"password: {PHRASE}  # for tests\n"
    for name, content in {"a.py": text, "b.yaml": config}.items():
        (repository.git.folder / name).write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "detect_secrets", "scan", "--no-verify", "a.py", "b.yaml"]
    scanned = subprocess.run(command, cwd=repository.git.folder, capture_output=True, check=True)
    baseline = json.loads(scanned.stdout)
    assert {name: len(found) for name, found in baseline["results"].items()} == {"a.py": 4, "b.yaml": 1}
    assert repository.allowing(baseline, a_py=text, b_yaml=config) == []
    assert places(repository.allowing(baseline, c_py=AWS)) == [("c.py", 1)]


def test_another_secret_beside_a_listed_one_is_found(repository):
    other = AWS[:-4] + "WXYB"
    digest = "2f6ea0c6f1c4d39f7b7d3e8c9f9e1a6b3b0e5b8a"
    listed = {"type": "AWS Access Key", "hashed_secret": sha1_of(AWS)}
    unknown = {"type": "AWS Access Key", "hashed_secret": digest}
    baseline = {"version": "1.5.0", "results": {"a.py": [listed, unknown]}}
    found = repository.allowing(baseline, a_py=f"{AWS} {other}")
    assert redacted(f"{AWS} {other}", found) == f"{AWS} [secret: AWS Access Key]"


def sha1_of(value: str) -> str:
    from detect_secrets.core.potential_secret import PotentialSecret

    return PotentialSecret.hash_secret(value)


def test_the_detectors_of_the_baseline_are_the_ones_asked(repository):
    random = "revision = '3f786850e387550fdab836ed7e6dc881de23001b'"
    baseline = {"version": "1.5.0", "plugins_used": [{"name": "HexHighEntropyString", "limit": 3.0}], "results": {}}
    assert kinds(repository.allowing(baseline, a_py=f"{random}\n{AWS}\n")) == {"Hex High Entropy String"}


@pytest.mark.parametrize(
    ("what", "pattern"), [("file", r"^a\.py$"), ("line", r"EXAMPLE ONLY"), ("secret", "Q3ZPQ3ZP$")]
)
def test_what_the_baseline_excludes_is_allowed(repository, what, pattern):
    path = f"detect_secrets.filters.regex.should_exclude_{what}"
    baseline = {"version": "1.5.0", "filters_used": [{"path": path, "pattern": [pattern]}], "results": {}}
    allowed, told = f"EXAMPLE ONLY {AWS}\n", AWS[:-4] + "WXYB\n"
    assert places(repository.allowing(baseline, a_py=allowed, b_py=told)) == [("b.py", 1)]


def test_an_old_baseline_still_counts(repository):
    baseline = {
        "version": "0.13.1",
        "exclude": {"files": r"^a\.py$", "lines": None},
        "plugins_used": [{"name": "AWSKeyDetector"}, {"base64_limit": 4.5, "name": "Base64HighEntropyString"}],
        "word_list": {"file": None, "hash": None},
        "results": {},
    }
    assert places(repository.allowing(baseline, a_py=AWS, b_py=AWS)) == [("b.py", 1)]


def test_no_code_of_the_work_tree_is_run_for_a_baseline(repository):
    code = repository.git.folder / "own.py"
    code.write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    plugins = [{"name": "AWSKeyDetector"}, {"name": "Own", "path": f"file://{code}"}]
    filters = [{"path": f"file://{code}::own"}, {"path": "own.own"}]
    new = {"version": "1.5.0", "plugins_used": plugins, "filters_used": filters, "results": {}}
    old = {"version": "0.14.0", "custom_plugin_paths": [str(code)], "plugins_used": plugins[:1], "results": {}}
    for baseline in (new, old):
        assert kinds(repository.allowing(baseline, a_py=AWS)) == {"AWS Access Key"}


@pytest.mark.parametrize("old", [None, {"version": "1.5.0", "results": {}}], ids=["added", "changed"])
def test_the_list_of_allowed_secrets_is_not_for_a_ticket_to_change(repository, old):
    listed = {"version": "1.5.0", "results": {"a.py": [{"type": "AWS Access Key", "hashed_secret": sha1_of(AWS)}]}}
    before = {} if old is None else {BASELINE: json.dumps(old)}
    found = repository.find(before, {BASELINE: json.dumps(listed, indent=1), "a.py": AWS})
    assert [(secret.path, secret.kind) for secret in found] == [
        (BASELINE, BASELINE_CHANGED),
        ("a.py", "AWS Access Key"),
    ]


def test_nor_to_delete(repository):
    assert kinds(repository.find({BASELINE: "{}"}, {})) == {BASELINE_CHANGED}


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        (b"\x00\xff\x81", ""),
        ("[]", "not an object"),
        ("{}", "'version'"),
        (
            {"version": "1.5.0", "plugins_used": [{"name": "Newer\nDetector"}]},
            'no detector is called "Newer\\nDetector"',
        ),
        ({"version": "1.5.0", "plugins_used": [{"name": "AWSKeyDetector", "limit": 3}]}, "argument"),
        ({"version": "1.5.0", "filters_used": [{"path": "detect_secrets.filters.heuristic.newer"}]}, "newer"),
        (
            {
                "version": "1.5.0",
                "filters_used": [{"path": "detect_secrets.filters.regex.should_exclude_file", "pattern": ["("]}],
            },
            "unterminated",
        ),
        (
            {
                "version": "1.5.0",
                "filters_used": [{"path": "detect_secrets.filters.regex.should_exclude_file", "pattern": "x"}],
            },
            "not a list",
        ),
        ({"version": "1.5.0", "results": {"a.py": [{}]}}, "'type'"),
        ({"version": "1.5.0", "results": {"a.py": 3}}, "iterable"),
    ],
)
def test_an_unreadable_baseline_is_one_line_with_the_file_and_the_remedy(repository, held, reason):
    with pytest.raises(ConfigurationError) as caught:
        repository.allowing(held, a_py="x = 1")
    message = caught.value.message
    assert message.startswith(f"{BASELINE}: ")
    assert reason in message
    assert f"`detect-secrets scan > {BASELINE}`" in message
    assert len(message.splitlines()) == 1


# ── What is told of it ─────────────────────────────────────────────────────────────────────────────────────


def test_no_value_is_shown_by_a_finding(repository):
    found = repository.added(AWS, assigned(PHRASE), f"{GITHUB} {url('hunter22')}")
    shown = f"{found} {[str(secret) for secret in found]} {[(s.hidden, str(s.hidden)) for s in found]}"
    for value in (AWS, PHRASE, GITHUB, "hunter22"):
        assert value not in shown


def test_a_finding_is_one_line_whatever_the_file_is_called(repository):
    (secret,) = repository.added(AWS, path="line\nbreak\u202e.py")
    assert str(secret) == '"line\\nbreak\\u202e.py":1: AWS Access Key'


def test_an_error_quotes_no_value(repository):
    tree = repository.tree({"a.py": AWS})
    with pytest.raises(BacklogError) as caught:
        find_secrets(repository.git, "no-such-tree", tree)
    assert AWS not in str(caught.value)


@pytest.mark.parametrize(
    "shown",
    [
        lambda value: value,
        lambda value: shlex.quote(f"--with={value}"),
        lambda value: "https:" + f"//u:{urllib.parse.quote(value, safe='')}@host/",
        lambda value: "?q=" + urllib.parse.quote_plus(value),
        lambda value: json.dumps({"k": value}),
        lambda value: repr({"k": value}),
        lambda value: f"{value}{value}",
    ],
    ids=["as it is", "for a shell", "in a URL", "in a query", "as JSON", "as Python", "twice"],
)
@pytest.mark.parametrize("value", [PHRASE, "it's a b/c?d&é\\"])
def test_a_value_is_redacted_however_it_is_spelled(shown, value):
    found = [FoundSecret("a.py", 1, "Secret Keyword", Hidden(frozenset({value})))]
    clean = redacted(f"before {shown(value)} after", found)
    assert "[secret: Secret Keyword]" in clean
    for piece in (value, "a b", "b/c", "b%2Fc", "horse"):
        assert piece not in clean


def test_nothing_else_in_the_text_is_touched(repository):
    found = repository.added(assigned(PHRASE))
    assert redacted(f"a\n{PHRASE}\tb", found) == "a\n[secret: Secret Keyword]\tb"
    assert redacted(f"{PHRASE}", []) == PHRASE


def test_a_short_value_is_redacted_only_as_a_word(repository):
    found = repository.added(url("pass"))
    assert redacted("pass 12 passed", found) == "[secret: Basic Auth Credentials] 12 passed"


def test_a_value_too_short_to_be_a_secret_stays(repository):
    assert redacted("a b abc", repository.added(assigned("abc"))) == "a b abc"


def test_the_longest_value_goes_first_and_no_replacement_is_replaced(repository):
    found = repository.added(assigned("Secret"), assigned("Secret-and-more"))
    assert redacted("Secret-and-more Secret", found) == "[secret: Secret Keyword] [secret: Secret Keyword]"


def test_every_value_of_a_line_is_redacted(repository):
    pairs = {"pass" + "word": "first-value", "api" + "_key": "second-value", "db" + "_pass": "third-value"}
    clean = redacted("first-value second-value third-value", repository.added(json.dumps(pairs), path="a.json"))
    assert "value" not in clean


def test_a_token_is_redacted_to_its_end(repository):
    found = repository.added(GITHUB, JOB_TOKEN, f"a {_jwt(5)} b")
    kept = redacted(f"{GITHUB}|{JOB_TOKEN}|{_jwt(5)}", found)
    assert kept == "[secret: GitHub Token]|[secret: GitLab Token]|[secret: JSON Web Token]"


@pytest.mark.parametrize("by", ["lines", "string"])
def test_the_lines_of_a_private_key_are_redacted(repository, by):
    lines = [PEM, *KEY_BODY, PEM_END]
    found = repository.added(*(lines if by == "lines" else ['k = "' + "\\n".join(lines) + '"']))
    assert kinds(found) == {"Private Key"}
    clean = redacted("\n".join(KEY_BODY), found)
    assert clean.splitlines() == ["[secret: Private Key]"] * 3


def test_a_comment_behind_a_value_is_no_part_of_it(repository):
    found = repository.added("pass" + f"word: {PHRASE}  # of the test server", path="a.yaml")
    assert redacted(PHRASE, found) == "[secret: Secret Keyword]"


# ── What it does beside ────────────────────────────────────────────────────────────────────────────────────


def test_scans_in_several_threads_do_not_mix_their_rules(repository):
    hexadecimal = {"version": "1.5.0", "plugins_used": [{"name": "HexHighEntropyString"}], "results": {}}
    stripe = {"version": "1.5.0", "plugins_used": [{"name": "StripeDetector"}], "results": {}}
    text = f"{AWS}\nx = '3f786850e387550fdab836ed7e6dc881de23001b'\n" + "sk" + "_live_" + "a1B2c3D4" * 3
    jobs = []
    for rules, expected in ((hexadecimal, [2]), (stripe, [3]), (None, [1, 3])):
        held = {} if rules is None else {BASELINE: json.dumps(rules)}
        jobs += [(repository.tree(held), repository.tree({**held, "a.py": text}), expected)] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: find_secrets(repository.git, job[0], job[1]), jobs))
    assert [[line for _, line in places(each)] for each in found] == [expected for *_, expected in jobs]


# Tells which processes were started, which addresses were asked for and which files of the repository were opened.
WATCHED = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
seen = []
def watch(event, args):
    if event == "subprocess.Popen":
        seen.append(args[0])
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.fork", "os.posix_spawn", "os.system"):
        seen.append(event)
    if event == "open" and str(args[0]).startswith(sys.argv[2]):
        seen.append(str(args[0]))
sys.addaudithook(watch)
from pathlib import Path
from backlog_ops.run.git import Git
from backlog_ops.run.secret_scan import find_secrets
shown = warnings.showwarning
git = Git(Path(sys.argv[2]))
nothing = find_secrets(git, sys.argv[3], sys.argv[3])
lazy = "detect_secrets" not in sys.modules
found = find_secrets(git, *sys.argv[3:])
print(json.dumps({"lazy": lazy, "found": len(found), "seen": sorted(set(seen)),
                  "warnings": warnings.showwarning is shown}))
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("watched"))
    verifying = {"path": "detect_secrets.filters.common.is_ignored_due_to_verification_policies", "min_level": 3}
    baseline = {"version": "1.5.0", "filters_used": [verifying], "results": {}}
    held = {BASELINE: json.dumps(baseline)}
    slack = "xo" + "xb-" + "123456-" * 2 + "abcDEF"
    trees = repository.tree(held), repository.tree({**held, "a.py": f"{AWS}\n{slack}\n"})
    (repository.git.folder / "a.py").write_text(AWS, encoding="utf-8")
    command = [sys.executable, "-I", "-c", WATCHED, str(SOURCES), str(repository.git.folder), *trees]
    return json.loads(subprocess.run(command, capture_output=True, check=True, cwd=repository.git.folder).stdout)


def test_a_scan_starts_git_alone_asks_no_address_and_opens_no_file_of_the_repository(watched):
    assert (watched["found"], watched["seen"]) == (2, ["git"])


def test_the_library_is_loaded_only_for_lines_to_scan(watched):
    assert watched["lazy"]


def test_warnings_of_others_are_shown_as_before(watched):
    assert watched["warnings"]


@pytest.mark.parametrize(
    "shape",
    [
        "sk-" + "ant-api03-" + "Qw7-" * 10,
        "sk-" + "proj-" + "aB3_" * 12,
        "github_" + "pat_" + "11ABCDE0" * 6,
        "AIza" + "Sy" + "Z9x" * 11,
        "hf_" + "QwErTyUi" * 4 + "op",
        "npm_" + "a1B2c3" * 6,
        "-----BEGIN " + "ENCRYPTED PRIVATE KEY-----",
    ],
    ids=lambda shape: shape[:7],
)
def test_keys_of_newer_shapes_are_found_wherever_they_stand(tmp_path: Path, shape: str) -> None:
    lab = Lab.make(tmp_path / "repo", {})
    lab.write("src/client.txt", f"use this one: {shape} and no other\n")
    lab.commit("key")
    found = find_secrets(lab.git, "HEAD^", "HEAD")
    assert [(secret.path, secret.line) for secret in found] == [("src/client.txt", 1)]
    assert shape not in redacted(f"key {shape}", found)
