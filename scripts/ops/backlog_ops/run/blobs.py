"""Many files of trees at once: two git processes, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backlog_ops.run.git import Git


def contents(git: Git, tree: str, paths: Iterable[str], at_most: int) -> Mapping[str, bytes | None]:
    """Path → content of those that are files of `tree` of at most `at_most` bytes; None for those that are not there.
    Larger ones, and what is no file (a submodule), are left out.
    """
    # A name with a line break cannot be asked for in a list.
    found: dict[str, bytes | None] = {path: git.file_at(tree, path) for path in paths if "\n" in path}
    listed = [path for path in paths if "\n" not in path]
    names = [f"{tree}:{path}".encode("utf-8", "surrogateescape") for path in listed]
    checked = _ask(git, "--batch-check=%(objecttype) %(objectsize)", names).splitlines()
    wanted = []
    for path, name, line in zip(listed, names, checked, strict=True):
        kind, _, length = line.partition(b" ")
        if line.endswith(b" missing"):
            found[path] = None
        elif kind == b"blob" and int(length) <= at_most:
            wanted.append((path, name, int(length)))
    data, place = _ask(git, "--batch=", [name for _, name, _ in wanted]), 0
    for path, _, size in wanted:  # an empty header line, the content, a line break
        found[path] = data[place + 1 : place + 1 + size]
        place += size + 2
    return found


def _ask(git: Git, how: str, names: list[bytes]) -> bytes:
    return git.run("cat-file", how, stdin=b"".join(name + b"\n" for name in names)).stdout if names else b""
