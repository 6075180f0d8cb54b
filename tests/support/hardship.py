"""Machines that do not play along: a full disk, a place that nothing can be written to. The real thing, in a fork.

    def body(hardship):                 # runs in a child, under the hardship; its failed assertion fails the test
        with hardship:
            ...
    endure(SmallDisk(folder), body)

A small tmpfs and a read-only mount need a mount namespace, which not every machine gives (a container, macOS). The
limit of file sizes and withdrawn permissions are to be had everywhere.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Hardship:
    """`prepare` once in the child; then it is there inside `with` and gone outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError


class SmallDisk(Hardship):
    """A disk of its own at `folder`, filled to the last byte."""

    size = "6m"

    def prepare(self) -> None:
        super().prepare()
        _own_mounts()
        _mount("tmpfs", self.folder, "tmpfs", 0, f"size={self.size}")

    def __enter__(self) -> None:
        with open(self.folder / "filler", "wb", buffering=0) as filler:
            for size in (1 << 16, 1):
                try:
                    while filler.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def __exit__(self, *_: object) -> None:
        (self.folder / "filler").unlink()


class FileSizeLimit(Hardship):
    """No file may grow: what is nearest to a full disk where none can be mounted."""

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class ReadOnlyMount(Hardship):
    """A disk that can only be read."""

    def prepare(self) -> None:
        super().prepare()
        _own_mounts()
        _mount(str(self.folder), self.folder, "", MS_BIND)

    def __enter__(self) -> None:
        _mount("", self.folder, "", MS_BIND | MS_REMOUNT | MS_RDONLY)

    def __exit__(self, *_: object) -> None:
        _mount("", self.folder, "", MS_BIND | MS_REMOUNT)


class NoPermission(Hardship):
    """Folders that nobody may write to, root neither."""

    def prepare(self) -> None:
        super().prepare()
        if os.geteuid() == 0 and sys.platform == "linux":
            for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
                _checked(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl")
            _forget_capabilities()

    def __enter__(self) -> None:
        for path in self._all():
            path.chmod(path.stat().st_mode & ~0o222)

    def __exit__(self, *_: object) -> None:
        for path in self._all():
            path.chmod(path.stat().st_mode | 0o200)

    def _all(self) -> list[Path]:
        return [path for path in (self.folder, *self.folder.rglob("*")) if not path.is_symlink()]


def _forget_capabilities() -> None:
    """What the bounding set no longer has, this process gives up as well; what it starts has lost it already."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(header, data), "capget")
    for index in (0, 1):  # effective, permitted
        data[index] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    _checked(_libc.capset(header, data), "capset")


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _own_mounts() -> None:
    """A mount namespace; root has the right to one, everybody else in a user namespace."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWNS) != 0:
        _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("", Path("/"), "", MS_REC | MS_PRIVATE)


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    words = (source.encode(), os.fsencode(target), kind.encode())
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


_Result = TypeVar("_Result")
_AnyHardship = TypeVar("_AnyHardship", bound=Hardship)


def endure(hardship: _AnyHardship, body: Callable[[_AnyHardship], Any]) -> None:
    """Run `body` in a child. Raises AssertionError with its traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            hardship.prepare()
            body(hardship)
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc()[-60_000:].encode())
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    _pid, status = os.waitpid(child, 0)
    assert status == 0, said or f"the child ended with status {status}"


def _can_mount() -> bool:
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            endure(SmallDisk(Path(folder)), lambda hardship: hardship.__enter__())
        except AssertionError:
            return False
    return True


CAN_MOUNT = _can_mount()
FULL = [SmallDisk, FileSizeLimit] if CAN_MOUNT else [FileSizeLimit]
UNWRITABLE = [ReadOnlyMount, NoPermission] if CAN_MOUNT else [NoPermission]
