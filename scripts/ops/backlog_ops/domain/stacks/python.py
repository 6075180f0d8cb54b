"""Python: pytest or unittest, run by uv, Poetry, the repository's own virtual environment, or `python3`."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from typing import NamedTuple

from backlog_ops.domain.stacks.checkout import Checkout, Detector, Stack
from backlog_ops.domain.stacks.pyproject import Pyproject

_SETTINGS = re.compile(r"pyproject\.toml|setup\.(py|cfg)|tox\.ini|pytest\.ini|\.?mypy\.ini|requirements[^/]*\.txt")
_LOCKS = {"uv.lock", "poetry.lock"}
_REQUIREMENTS = re.compile(r"requirements[^/]*\.txt")
_TEST_FILE = re.compile(r"(?:.*/)?(?:test_[^/]*|[^/]*_test)\.py")
_TEST_OF_NO_PROJECT = re.compile(r"(?:tests?/.*|[^/]*)")  # a repository without any marker keeps its tests here
_ENVIRONMENTS = (".venv", "venv")
_NOT_OURS = (".venv/", "venv/", "node_modules/")
_INSTALLED_FROM = re.compile(r"\.?venv/lib/python[^/]*/site-packages/(?:[^/]+\.pth|[^/]+/direct_url\.json)")
_ALWAYS_INSTALLED = {("project", "dependencies"), ("dependency-groups", "dev"), ("tool", "uv", "dev-dependencies")}
_OPTIONAL = (("project", "optional-dependencies"), ("dependency-groups",))
_WHAT_MYPY_CHECKS = ("files", "packages", "modules")
_UNITTEST = re.compile(r"^\s*(?:import|from)\s+unittest\b", re.MULTILINE)
_PYTEST = re.compile(r"^\s*(?:import|from)\s+pytest\b", re.MULTILINE)


class _Environment(NamedTuple):
    """How a project's Python is started in a worktree, and what a worktree needs for that."""

    python: str
    tool: str = ""  # what stands in front of a tool's name
    has: frozenset[str] | None = None  # the tools that are known to be in it; None: not known
    setup: str | tuple[str, ...] = ""
    link: tuple[str, ...] = ()
    note: str = ""

    def command(self, words: str) -> str:
        """The linter or type checker `words`: out of the environment, or whichever the PATH has."""
        here = self.has is None or words.split()[0] in self.has
        return f"{self.tool}{words}" if here else words


def _reads(path: str) -> bool:
    return bool(_SETTINGS.fullmatch(path) or _INSTALLED_FROM.fullmatch(path) or _is_test(path))


def _is_test(path: str) -> bool:
    return bool(_TEST_FILE.fullmatch(path)) and not path.startswith(_NOT_OURS)


def _detect(checkout: Checkout) -> Stack | None:
    tests = sorted(path for path in checkout.paths if _is_test(path))
    is_marked = bool(_LOCKS & checkout.paths) or any(map(_SETTINGS.fullmatch, checkout.paths))
    if not is_marked and not any(map(_TEST_OF_NO_PROJECT.fullmatch, tests)):
        return None
    project = Pyproject(checkout.text("pyproject.toml"))
    test, lint, type_check = _test(checkout, tests), _lint(checkout, project), _type_check(checkout, project)
    tools = [words.split()[0] for words in (test, lint, type_check) if words and not words.startswith("unittest")]
    environment = _environment(checkout, project, tools)
    return Stack(
        name="Python",
        project_name=project.project_name,
        type_check=environment.command(type_check) if type_check else "",
        lint=environment.command(lint) if lint else "",
        # `python -m`: unlike `pytest` alone it finds the modules beside the tests' folder.
        test=f"{environment.python} -m {test}" if test else "",
        setup=environment.setup,
        link=environment.link,
        notes=(environment.note,) if environment.note else (),
    )


DETECTOR = Detector(
    detect=_detect,
    reads=_reads,
    local_folders=_ENVIRONMENTS,
    looks_for=("bin/*", "lib/python*/site-packages/*.pth", "lib/python*/site-packages/*/direct_url.json"),
)


def _test(checkout: Checkout, tests: list[str]) -> str:
    """`pytest`, a `unittest discover` that finds the tests, or nothing."""
    own = [path for path in checkout.paths if not path.startswith(_NOT_OURS)]
    named = any(re.search(r"\bpytest\b", checkout.text(path)) for path in filter(_SETTINGS.fullmatch, own))
    if named or any(path.rpartition("/")[2] in ("pytest.ini", "conftest.py") for path in own):
        return "pytest"
    texts = [checkout.text(path) for path in tests]
    if any(map(_UNITTEST.search, texts)) and not any(map(_PYTEST.search, texts)):
        folder = next((name for name in ("tests", "test") if any(p.startswith(f"{name}/") for p in tests)), "")
        top = " -t ." if f"{folder}/__init__.py" in checkout.paths else ""
        return f"unittest discover -s {folder}{top}" if folder else "unittest discover"
    return "pytest" if tests else ""


def _lint(checkout: Checkout, project: Pyproject) -> str:
    listed = project.lists_of("ruff") or _required(checkout, "ruff")
    if listed or project.has_tool("ruff") or {"ruff.toml", ".ruff.toml"} & checkout.paths:
        return "ruff check"
    is_set = any(_section(checkout, file, "flake8") is not None for file in ("setup.cfg", "tox.ini"))
    return "flake8" if is_set or ".flake8" in checkout.paths else ""


def _type_check(checkout: Checkout, project: Pyproject) -> str:
    found = (_section(checkout, file, "mypy") for file in ("mypy.ini", ".mypy.ini", "setup.cfg"))
    section = next((keys for keys in found if keys is not None), None)
    if project.has_tool("mypy") or section is not None:
        says_what = any(project.sets("tool", "mypy", key) or key in (section or ()) for key in _WHAT_MYPY_CHECKS)
        return "mypy" if says_what else "mypy ."
    return "pyright" if project.has_tool("pyright") or "pyrightconfig.json" in checkout.paths else ""


def _section(checkout: Checkout, file: str, name: str) -> frozenset[str] | None:
    """The keys of a section of an INI file; None where it is not there."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(checkout.text(file))
        return frozenset(parser[name])
    except (configparser.Error, KeyError):
        return None


def _required(checkout: Checkout, package: str) -> bool:
    wanted = re.compile(rf"^{re.escape(package)}(?![A-Za-z0-9._-])", re.MULTILINE | re.IGNORECASE)
    return any(wanted.search(checkout.text(path)) for path in checkout.paths if _REQUIREMENTS.fullmatch(path))


def _environment(checkout: Checkout, project: Pyproject, tools: list[str]) -> _Environment:
    if "uv.lock" in checkout.paths:
        flags = "".join(f"{flag} " for flag in _uv_flags(project, tools))
        return _Environment(f"uv run {flags}python", f"uv run {flags}", setup=f"uv sync --frozen {flags}".rstrip())
    if "poetry.lock" in checkout.paths:
        extras = "".join(f" --extras {name}" for name in _extras(project, tools))
        return _Environment("poetry run python", "poetry run ", setup=f"poetry install --no-interaction{extras}")
    for name in _ENVIRONMENTS:
        if f"{name}/bin/python" not in checkout.paths:
            continue
        if name in checkout.linkable:
            return _of_the_repository(checkout, project, name, tools)
        return _Environment("python3", note=f"{name} is not ignored by git: ignore it, then link it (worktree.link)")
    return _Environment("python3", note="no .venv here: the tests use the python3 of your PATH")


def _of_the_repository(checkout: Checkout, project: Pyproject, name: str, tools: list[str]) -> _Environment:
    """The virtual environment `name`: linked, or made anew where it would import the repository's own checkout."""
    inside = f"{name}/bin/"
    programs = frozenset(path.removeprefix(inside) for path in checkout.paths if path.startswith(inside))
    prefix = f"{name}/bin/python -m "
    if not _imports_its_checkout(checkout, name):
        return _Environment(prefix.split()[0], prefix, programs, link=(name,))
    extras = ",".join(_extras(project, tools))
    wanted = ["-e", f".[{extras}]" if extras else "."]
    for path in sorted(filter(_REQUIREMENTS.fullmatch, checkout.paths)):
        wanted += ["-r", path]
    wanted += [tool for tool in dict.fromkeys(tools) if tool in programs or tool == "pytest"]
    install = shlex.join([f"{name}/bin/python", "-m", "pip", "install", "--quiet", *wanted])
    make = f"python3 -m venv {name} && echo '*' >{name}/.gitignore && {install}"
    note = f"{name} has this repository installed as editable: a link would test your checkout, not the ticket's code"
    if project.has_groups:
        note += "; setupCommand leaves out [dependency-groups], add what the tests need"
    return _Environment(prefix.split()[0], prefix, programs, setup=("sh", "-c", make), note=note)


def _imports_its_checkout(checkout: Checkout, environment: str) -> bool:
    """Whether an editable install in `environment` points into the repository."""
    for path, text in checkout.texts.items():
        if not path.startswith(f"{environment}/"):
            continue
        if path.endswith(".pth") and any(_is_inside(line, checkout.top) for line in text.splitlines()):
            return True
        if path.endswith("/direct_url.json") and _is_inside(_editable_source(text), checkout.top):
            return True
    return False


def _editable_source(direct_url: str) -> str:
    """The folder that a package is an editable install of, or nothing (PEP 610)."""
    try:
        found = json.loads(direct_url)
        url = found["url"] if found["dir_info"]["editable"] is True else ""
    except (ValueError, KeyError, TypeError):
        return ""
    plain = re.sub(rb"%([0-9A-Fa-f]{2})", lambda code: bytes([int(code[1], 16)]), str(url).encode())
    return plain.decode("utf-8", "replace").removeprefix("file://")


def _is_inside(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _extras(project: Pyproject, tools: list[str]) -> list[str]:
    return sorted({path[-1] for path in _optional(project, tools) if path[0] == "project"})


def _uv_flags(project: Pyproject, tools: list[str]) -> list[str]:
    """The extras and groups that the tools come from; uv installs the group `dev` in any case."""
    groups = {path[1] for path in _optional(project, tools) if path[0] == "dependency-groups"} - {"dev"}
    return [f"--extra {name}" for name in _extras(project, tools)] + [f"--group {name}" for name in sorted(groups)]


def _optional(project: Pyproject, tools: list[str]) -> list[tuple[str, ...]]:
    """The extras and groups that list a tool which nothing installs in any case."""
    found = []
    for tool in tools:
        lists = project.lists_of(tool)
        if not _ALWAYS_INSTALLED.intersection(lists):
            found += [path for path in lists if path[:-1] in _OPTIONAL][:1]
    return found
