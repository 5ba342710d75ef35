"""KEY-1: the identity file is made whole, for us alone, and never replaced."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import KeyFileError
from praxis_fast.wire import key_file

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def wide_umask():
    """Nothing is taken from the modes asked for."""
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.usefixtures("wide_umask")
def test_key_1_folders_and_file_are_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "agent" / "identity.key"
    key_file.create(path, b"secret")
    assert mode(path) == 0o600
    assert mode(path.parent) == mode(path.parent.parent) == 0o700
    assert key_file.read(path) == b"secret"


def test_key_1_file_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    key_file.create(path, b"first")
    key_file.create(path, b"second")
    assert key_file.read(path) == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.key"]


def test_key_1_many_creators_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.key"
    seen: list[bytes | None] = []

    def work(number: int) -> None:
        key_file.create(path, b"key %d" % number)
        seen.append(key_file.read(path))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_missing_file_or_folder_reads_as_none(tmp_path: Path) -> None:
    assert key_file.read(tmp_path / "identity.key") is None
    assert key_file.read(tmp_path / "no" / "identity.key") is None


@pytest.mark.parametrize("bad", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_key_1_file_others_can_open_is_refused(tmp_path: Path, bad: int) -> None:
    path = tmp_path / "identity.key"
    key_file.create(path, b"secret")
    path.chmod(bad)
    with pytest.raises(KeyFileError, match=f"mode {bad:o} lets others in"):
        key_file.read(path)


@pytest.mark.parametrize("bad", [0o770, 0o707, 0o720, 0o702])
def test_key_1_folder_others_can_write_is_refused(tmp_path: Path, bad: int) -> None:
    path = tmp_path / "identity.key"
    key_file.create(path, b"secret")
    tmp_path.chmod(bad)
    with pytest.raises(KeyFileError, match=f"mode {bad:o} lets others write"):
        key_file.read(path)
    with pytest.raises(KeyFileError, match="lets others write"):
        key_file.create(tmp_path / "other.key", b"secret")
    tmp_path.chmod(0o700)


def test_file_that_only_its_owner_reads_is_good(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    key_file.create(path, b"secret")
    path.chmod(0o400)
    assert key_file.read(path) == b"secret"


def test_key_1_file_of_another_user_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "identity.key"
    key_file.create(path, b"secret")
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(KeyFileError, match="belongs to user"):
        key_file.read(path)


def test_key_1_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch) -> None:
    found = list(tmp_path.stat())
    found[stat.ST_UID] = os.geteuid() + 7
    monkeypatch.setattr(type(tmp_path), "stat", lambda _: os.stat_result(found))
    with pytest.raises(KeyFileError, match="belongs to user"):
        key_file.read(tmp_path / "identity.key")


@pytest.mark.parametrize("size", [0, key_file.MAX_SIZE + 1])
def test_key_1_empty_or_huge_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=f"{size} bytes are not an identity key"):
        key_file.read(path)


def test_key_1_links_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    key_file.create(tmp_path / "real", b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "dangling", "pipe", "folder"):
        with pytest.raises(KeyFileError):
            key_file.read(tmp_path / name)


def test_key_1_failed_write_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="cannot be written: No space left"):
        key_file.create(tmp_path / "identity.key", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError, match="cannot be"):
        key_file.create(tmp_path / "file" / "identity.key", b"secret")
    with pytest.raises(KeyFileError, match="cannot be"):
        key_file.read(tmp_path / "file" / "identity.key")
