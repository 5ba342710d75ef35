"""Builds the compiled core; everything else about the package is in pyproject.toml.

Switches (environment):
  PRAXIS_FAST_BUILD=pure    leave the compiled core out (a pure wheel)
  PRAXIS_FAST_BUILD=require fail when the core cannot be compiled
  PRAXIS_FAST_BUILD=debug   checks on, optimiser off
  PRAXIS_FAST_BUILD=trace   line tracing for coverage of the .pyx files
  PRAXIS_FAST_BUILD=sanitize  address and undefined-behaviour sanitizers (make sanitize)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("PRAXIS_FAST_BUILD", "")
CORE = Path("src/praxis_fast/_core")

# The unsafe directives: every index in the core is checked by hand against a length.
DIRECTIVES = {
    "language_level": "3",
    "auto_pickle": False,
    "binding": False,
    "boundscheck": MODE == "debug",
    "wraparound": MODE == "debug",
    "initializedcheck": MODE == "debug",
    "cdivision": True,
    "linetrace": MODE == "trace",
}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
FLAGS = {
    "debug": ["-O0", "-g", "-DPRAXIS_FAST_DEBUG=1"],
    "trace": ["-O1", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"],
    "sanitize": ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS],
}.get(MODE, ["-O3", "-fno-strict-aliasing"])


class BuildCore(build_ext):
    """Compiles the core, or says once that the plain twins will be used."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if MODE == "require":
                raise
            self.extensions = []
            self.warn(
                "the compiled core of praxis-fast could not be built "
                f"({type(error).__name__}: {error}); its plain Python twins are "
                "installed, which do the same, slower"
            )


def extensions() -> list[Extension]:
    """The compiled core: one extension per .pyx, C kernels linked into their user."""
    if MODE == "pure" or sys.implementation.name != "cpython":
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        if MODE == "require":
            raise
        return []
    kernels = sorted(str(path) for path in (CORE / "kernels").glob("*.c"))
    modules = [
        Extension(
            f"praxis_fast._core.{path.stem}",
            [str(path), *(kernels if path.stem == "splitter" else [])],
            include_dirs=[str(CORE / "kernels")],
            depends=sorted(
                str(path) for end in ("*.pxd", "*.h") for path in CORE.rglob(end)
            ),
            extra_compile_args=FLAGS,
            extra_link_args=SANITIZERS if MODE == "sanitize" else [],
        )
        for path in sorted(CORE.glob("*.pyx"))
    ]
    return list(
        cythonize(modules, compiler_directives=DIRECTIVES, include_path=["src"])
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildCore})
