"""Node: the scripts of package.json, run by npm, pnpm, yarn or bun."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from backlog_ops.domain.stacks.checkout import Checkout, Detector, Stack

_PACKAGE, _MODULES = "package.json", "node_modules"
_TEST = ("test", "test:ci", "test:unit", "test:run")
_LINT = ("lint", "lint:check", "lint:ci")
_TYPE_CHECK = ("typecheck", "type-check", "types:check", "check-types", "check:types", "tsc")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies")
# What npm init writes; what never ends; what changes the files it is to judge.
_UNFIT = re.compile(r"no test specified|--watch(?:All)?(?![-\w=])|--fix\b|--write\b")
_OWN_CODE = ("file:", "link:", "portal:", "workspace:")


class _Manager(NamedTuple):
    name: str
    lock_files: tuple[str, ...]
    run: str  # runs a script
    program: str  # runs a program of node_modules, and fetches none
    install_locked: str
    install: str  # leaves no lock file behind


_MANAGERS = (
    _Manager(
        "npm",
        ("package-lock.json", "npm-shrinkwrap.json"),
        "npm run",
        "npx --no --",
        "npm ci --prefer-offline",
        "npm install --no-package-lock --prefer-offline",
    ),
    _Manager(
        "pnpm",
        ("pnpm-lock.yaml",),
        "pnpm run",
        "pnpm exec",
        "pnpm install --frozen-lockfile --prefer-offline",
        "pnpm install --no-lockfile --prefer-offline",
    ),
    _Manager(
        "yarn",
        ("yarn.lock",),
        "yarn run",
        "yarn run",
        "yarn install --frozen-lockfile --prefer-offline",
        "yarn install --no-lockfile --prefer-offline",
    ),
    _Manager(
        "bun",
        ("bun.lock", "bun.lockb"),
        "bun run",
        "bun run",
        "bun install --frozen-lockfile",
        "bun install --no-save",
    ),
)


def _detect(checkout: Checkout) -> Stack | None:
    if _PACKAGE not in checkout.paths:
        return None
    package = _package(checkout.text(_PACKAGE))
    manager = _manager(checkout, package)
    scripts = {name: line for name, line in _object(package, "scripts").items() if isinstance(line, str)}
    test = _script(scripts, _TEST)
    type_check = _script(scripts, _TYPE_CHECK)
    lint = _script(scripts, _LINT)
    stack = Stack(
        name="Node",
        project_name=package["name"] if isinstance(package.get("name"), str) else "",
        type_check=f"{manager.run} {type_check}" if type_check else _compiler(checkout, package, manager),
        lint=f"{manager.run} {lint}" if lint else "",
        test=f"{manager.run} {test}" if test else "",
    )
    return _with_packages(stack, checkout, package, manager)


DETECTOR = Detector(detect=_detect, reads=lambda path: path == _PACKAGE, local_folders=(_MODULES,))


def _package(text: str) -> Mapping[str, Any]:
    try:
        package = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{_PACKAGE}:{error.lineno}: not valid JSON at column {error.colno}: {error.msg}; mend it first"
        raise ValueError(message) from None
    except RecursionError:
        package = None
    if not isinstance(package, dict):
        raise ValueError(f"{_PACKAGE}:1: must be a JSON object {{…}}; mend it first")
    return package


def _object(package: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = package.get(key)
    return value if isinstance(value, dict) else {}


def _manager(checkout: Checkout, package: Mapping[str, Any]) -> _Manager:
    """The one that `packageManager` names, else the one whose lock file is there, else npm."""
    named = package.get("packageManager")
    name = named.partition("@")[0] if isinstance(named, str) else ""
    by_name = [manager for manager in _MANAGERS if manager.name == name]
    by_lock = [manager for manager in _MANAGERS if checkout.paths.intersection(manager.lock_files)]
    manager = (by_name or by_lock or _MANAGERS[:1])[0]
    is_classic = ".yarnrc.yml" not in checkout.paths and (not by_name or str(named).startswith("yarn@1."))
    if manager.name == "yarn" and not is_classic:
        return manager._replace(install_locked="yarn install --immutable", install="yarn install")
    return manager


def _script(scripts: Mapping[str, str], names: Sequence[str]) -> str:
    return next((name for name in names if scripts.get(name, "").strip() and not _UNFIT.search(scripts[name])), "")


def _compiler(checkout: Checkout, package: Mapping[str, Any], manager: _Manager) -> str:
    listed = any("typescript" in _object(package, key) for key in _DEPENDENCIES)
    return f"{manager.program} tsc --noEmit" if listed and "tsconfig.json" in checkout.paths else ""


def _with_packages(stack: Stack, checkout: Checkout, package: Mapping[str, Any], manager: _Manager) -> Stack:
    """What gives a worktree its node_modules: a link, or an installation of its own."""
    wanted = {name: str(version) for key in _DEPENDENCIES for name, version in _object(package, key).items()}
    own_code = _links_own_code(checkout, package, wanted)
    if not wanted and not own_code:
        return stack
    if _MODULES in checkout.linkable and not own_code:
        return replace(stack, link=(_MODULES,))
    locked = checkout.paths.intersection(manager.lock_files)
    stack = replace(stack, setup=manager.install_locked if locked else manager.install)
    if own_code and _MODULES in checkout.present:
        stack = stack.with_note(
            f"{_MODULES} holds links into this repository: a link to it would test your checkout, not the ticket's code"
        )
    if _MODULES not in checkout.ignored and ".pnp.cjs" not in checkout.paths:
        stack = stack.with_note(f"{_MODULES} is not ignored by git: add it to .gitignore, or setupCommand fails")
    return stack


def _links_own_code(checkout: Checkout, package: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    workspaces = bool(package.get("workspaces")) or "pnpm-workspace.yaml" in checkout.paths
    return workspaces or any(version.startswith(_OWN_CODE) for version in wanted.values())
