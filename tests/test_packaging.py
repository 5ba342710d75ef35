"""The sdist and the wheel install and work, with and without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[1]
TRY = """
import praxis_fast.core as core
splitter = core.JSONSplitter()
assert splitter.receive_data(b'{"a":1}{"b":2}') == [b'{"a":1}', b'{"b":2}']
print(core.BACKEND)
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An sdist, and the wheel made from it, by this environment's own build tools."""
    target = tmp_path_factory.mktemp("dist")
    options = ["--no-isolation", "--outdir", target]
    run(sys.executable, "-m", "build", *options, PRAXIS_FAST_BUILD="require")
    return sorted(target.iterdir())


@pytest.fixture
def sdist(distributions: list[Path]) -> Path:
    return next(path for path in distributions if path.name.endswith(".tar.gz"))


@pytest.fixture
def wheel(distributions: list[Path]) -> Path:
    return next(path for path in distributions if path.suffix == ".whl")


def backend_of(distribution: Path, home: Path, **environment: str) -> str:
    """Install into a new environment; the dependencies are borrowed from this one."""
    venv.create(home)
    python = home / "bin" / "python"
    borrowed = next(path for path in sys.path if path.endswith("site-packages"))
    (site,) = home.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(borrowed + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-v"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    said = run(*pip, *options, distribution, **environment)
    version = run(home / "bin" / "praxis-fast", "--version")
    assert "praxis-fast" in version
    backend = run(python, "-I", "-c", TRY).strip()
    assert said.count("could not be built") == (backend == "pure")
    return backend


def test_a_wheel_holds_the_compiled_core_and_no_sources(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = (ROOT / "src" / "praxis_fast" / "_core").glob("*.pyx")
    compiled = {Path(name).name.split(".")[0] for name in names if ".cpython" in name}
    assert compiled == {path.stem for path in sources}
    assert "praxis_fast/py.typed" in names
    assert not [name for name in names if name.endswith((".c", ".pyx"))]
    assert backend_of(wheel, tmp_path / "env") == "core"


def test_an_sdist_builds_the_core_where_a_compiler_is(
    sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith(".pyx")]
    assert [name for name in names if name.endswith("kernels/scalar.c")]
    assert [name for name in names if name.endswith("tests/conftest.py")]
    assert backend_of(sdist, tmp_path / "env", PRAXIS_FAST_BUILD="require") == "core"


def test_an_sdist_installs_without_a_compiler(sdist: Path, tmp_path: Path) -> None:
    without = {"CC": "/nonexistent/cc", "PRAXIS_FAST_BUILD": ""}
    backend = backend_of(sdist, tmp_path / "env", **without)
    assert backend == "pure"
