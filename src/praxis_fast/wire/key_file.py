"""The file an identity key lives in.

It is made whole or not at all, belongs to us and is readable by nobody else; anything
doubtful is a KeyFileError and never a reason to make a new identity. This is the one
module of `wire` that touches the file system.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from praxis_fast.errors import KeyFileError

# An Ed25519 key message is 68 bytes; everything much longer is some other file.
MAX_SIZE = 4096

# A pipe in the file's place must not hold us up; a link could lead anywhere.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read(path: str | os.PathLike[str]) -> bytes | None:
    """The file's bytes; None only when there is no such file at all."""
    path = Path(path)
    try:
        _check_folder(path.parent)
        data = _read_checked(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    if not 0 < len(data) <= MAX_SIZE:
        raise KeyFileError(f"{path}: {len(data)} bytes are not an identity key")
    return data


def create(path: str | os.PathLike[str], data: bytes) -> None:
    """Write the file, whole, unless another process was first."""
    path = Path(path)
    try:
        _make_folder(path.parent)
        _check_folder(path.parent)
        _write_once(path, data)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from error


def _read_checked(path: Path) -> bytes:
    """What is read is what was checked: both through one descriptor."""
    descriptor = os.open(path, _READ)
    try:
        _check_file(path, os.fstat(descriptor))
        return os.read(descriptor, MAX_SIZE + 1)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make the folder and what is missing above it, for us alone."""
    if folder.exists():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _write_once(path: Path, data: bytes) -> None:
    """Written aside, then linked: the name never shows a part of a key."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(aside, _CREATE, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: a rename would replace a key made in the meantime.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(folder: Path) -> None:
    """Who can write the folder can put another key in its place."""
    found = folder.stat()
    if found.st_mode & _OTHERS_WRITE:
        raise KeyFileError(
            f"{folder}: mode {stat.S_IMODE(found.st_mode):o} lets others write, "
            f"expected 700"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(f"{folder}: belongs to user {found.st_uid}, not to us")


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"{path}: not a regular file")
    if found.st_mode & _OTHERS:
        raise KeyFileError(
            f"{path}: mode {stat.S_IMODE(found.st_mode):o} lets others in, expected 600"
        )
    if found.st_uid != os.geteuid():
        raise KeyFileError(f"{path}: belongs to user {found.st_uid}, not to us")
