"""The vector kernels against the plain twin, around the edges of lanes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import UsageError
from tests.conftest import cuts
from tests.core.splitters import (
    COMPILED,
    KERNELS,
    SPLITTERS,
    Splitters,
    outcome,
    split,
)

if KERNELS:
    from praxis_fast._core.splitter import select_kernel

SOURCES = Path(__file__).parents[2] / "src" / "praxis_fast" / "_core" / "kernels"
FUZZ = Path(__file__).parents[1] / "fuzz"

# How to compile for a processor and how to run the result here.
TOOLCHAINS = [
    (["gcc"], []),
    (["clang"], []),
    (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
]
FOUND = [
    toolchain
    for toolchain in TOOLCHAINS
    if all(shutil.which(command[0]) for command in toolchain if command)
]
every_toolchain = pytest.mark.parametrize(
    ("compiler", "runner"), FOUND, ids=lambda command: "-".join(command[:1])
)
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]

# Around one lane, a pair of them, the 256 bytes of a long string, and a batch.
EDGES = [31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 4095, 4096, 4097, 8192]


@pytest.fixture(params=SPLITTERS, ids=str)
def splitters(request: pytest.FixtureRequest) -> Splitters:
    """Both twins, the compiled one with each kernel."""
    found: Splitters = request.param
    return found


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        # The plain twins have no kernels to choose from.
        env=os.environ | {"PRAXIS_FAST_PURE": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("edge", EDGES)
def test_text_that_ends_around_an_edge_is_found(
    splitters: Splitters, edge: int
) -> None:
    for size in range(max(edge - 3, 3), edge + 4):
        text = b"[" + b"1" * (size - 2) + b"]"
        string = b'"' + b"a" * (size - 2) + b'"'
        for after in (b"", b"{}", b" 1 ", b'"a"', b"\n[]\n"):
            expected = [text, *split(SPLITTERS[0], after)]
            assert split(splitters, text + after) == expected
            assert split(splitters, string + after) == [string, *expected[1:]]


@pytest.mark.parametrize("edge", EDGES)
def test_backslashes_over_an_edge_keep_their_parity(
    splitters: Splitters, edge: int
) -> None:
    for before in range(max(edge - 2, 0), edge + 3):
        for run in (1, 2, 3, 4, 63, 64, 65, 127, 128, 129, 200):
            head = b'["' + b"a" * before + b"\\" * run
            text = head + (b'"' if run % 2 == 0 else b'""') + b"]"
            assert split(splitters, text + b"[]") == [text, b"[]"]
            other = head + (b'"' if run % 2 else b'""') + b"]"
            assert outcome(splitters, [other]) == outcome(SPLITTERS[0], [other])


@pytest.mark.parametrize("edge", EDGES)
def test_chunk_that_ends_around_an_edge_keeps_state(
    splitters: Splitters, edge: int
) -> None:
    stream = b'{"a":"]\\"\\\\",[[1]]}' * (2 * edge // 18 + 3)
    whole = split(SPLITTERS[0], stream)
    for cut in range(max(edge - 20, 0), edge + 20):
        assert outcome(splitters, [stream[:cut], stream[cut:]])[:2] == (whole, None)


@pytest.mark.parametrize("edge", EDGES)
def test_json_3_depth_crossed_inside_a_lane_is_refused(
    splitters: Splitters, edge: int
) -> None:
    for depth in (1, 2, 40, 64, 65, 128):
        deepest = b"[" + b" " * edge + b"[" * (depth - 1) + b"]" * depth
        assert split(splitters, deepest * 2, max_depth=depth) == [deepest] * 2
        over = deepest + b"[" + b" " * edge + b"[" * depth + b"]" * (depth + 1)
        texts, error, _ = outcome(splitters, [over], max_depth=depth)
        message = f"nesting of {depth + 1} levels, limit {depth}"
        assert (texts, error) == ([deepest], message)


@pytest.mark.parametrize("edge", EDGES)
def test_json_2_frame_over_the_limit_inside_a_lane_is_refused(
    splitters: Splitters, edge: int
) -> None:
    message = f"text of at least {edge + 1} bytes, limit {edge}"
    for head, tail in ((b"[", b"]"), (b'"', b'"'), (b"{[", b"]}"), (b"1", b"1 ")):
        longest = head + b"1" * (edge - len((head + tail).strip())) + tail
        over = head + b"1" + longest[len(head) :]
        expected = [longest.strip()] * 2
        assert split(splitters, longest * 2, max_frame=edge) == expected
        texts, error, _ = outcome(splitters, [longest + over], max_frame=edge)
        assert (texts, error) == (expected[:1], message)


@pytest.mark.parametrize("edge", EDGES)
def test_fault_behind_texts_is_found_where_the_byte_loop_finds_it(
    splitters: Splitters, edge: int
) -> None:
    good = b'{"a":[{},"}"]}'
    for bad in (b"]", b",", b"\\", b"[\\", b'"\\', b"[" * 129, b"1\\", b'{"a":"'):
        for after in (b"", good * 10, b'"' + good, b"\\" + good, b"]]]" + good):
            data = good * (edge // len(good)) + bad + after
            expected = outcome(SPLITTERS[0], [data])
            assert outcome(splitters, [data]) == expected


def test_high_bytes_are_not_taken_for_their_ascii_twins(splitters: Splitters) -> None:
    text = b"[" + bytes(byte for byte in range(128, 256)) * 3 + b"]"
    string = b'"' + text[1:-1] + b'"'
    assert split(splitters, text + string + text) == [text, string, text]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 128 + b"]" * 128,
        b"[" + b"[]" * 3000 + b"]",
        b"[" + b"[[]]" * 3000 + b"]",
        b'["' + b'","' * 3000 + b'"]',
        b'["' + b'\\"' * 3000 + b'"]',
        b'["' + b"\\\\" * 3000 + b'"]',
        b'{"a":"' + b"[" * 6000 + b'"}',
        b"[" + b'{"":{"":[""]}},' * 500 + b"0]",
        b"[" * 100 + b"1," * 3000 + b"]" * 100,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_lanes_full_of_structure_are_read(splitters: Splitters, text: bytes) -> None:
    stream = text * 3
    for size in (len(stream), 4096, 1460, 100):
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert outcome(splitters, chunks)[:2] == ([text] * 3, None)


RUNS = st.one_of(
    st.builds(
        lambda byte, times: byte * times,
        st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b" ", b"1", b"\xa2"]),
        st.integers(0, 140),
    ),
    st.builds(
        lambda depth: b"[" * depth + b"]" * depth,
        st.integers(0, 140),
    ),
    st.builds(lambda size: b'"' + b"a" * size + b'"', st.integers(0, 300)),
    st.sampled_from([b'{"a":"b"}', b'\\"', b"[1,2]", b",", b":", b'"\\\\"']),
)


@given(
    st.lists(RUNS, max_size=40),
    st.integers(0, 2**32),
    st.sampled_from([1, 64, 100, 1000, 2**20]),
    st.sampled_from([1, 60, 64, 128]),
)
def test_runs_give_the_same_in_all_kernels(
    runs: list[bytes], number: int, max_frame: int, max_depth: int
) -> None:
    data = b"".join(runs)
    limits = {"max_frame": max_frame, "max_depth": max_depth, "max_blank": 200}
    expected = outcome(SPLITTERS[0], [data], **limits)
    chunks = cuts(data, random.Random(number))
    for each in COMPILED:
        assert outcome(each, [data], **limits) == expected
        assert outcome(each, chunks, **limits) == expected


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_is_forced_by_the_switch(name: str) -> None:
    code = "from praxis_fast.core import KERNEL; print(KERNEL)"
    assert python(code, PRAXIS_FAST_KERNEL=name).stdout == f"{name}\n"


@pytest.mark.parametrize("name", KERNELS[:1])
def test_best_kernel_is_chosen_without_the_switch(name: str) -> None:
    code = "from praxis_fast.core import KERNEL; print(KERNEL)"
    assert python(code, PRAXIS_FAST_KERNEL="").stdout == f"{name}\n"


def test_plain_twin_has_no_kernel() -> None:
    code = "from praxis_fast.core import BACKEND, KERNEL; print(BACKEND, [KERNEL])"
    assert python(code, PRAXIS_FAST_PURE="1").stdout == "pure ['']\n"


@pytest.mark.parametrize("available", [", ".join(KERNELS)] if KERNELS else [])
def test_unknown_kernel_is_refused(available: str) -> None:
    with pytest.raises(UsageError) as caught:
        select_kernel("mmx")
    assert str(caught.value) == f"kernel 'mmx', this processor has {available}"


def run(*command: object) -> str:
    """What the command says; it must end well."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@every_toolchain
@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.c")), ids=lambda p: p.name)
def test_kernels_compile_without_a_warning(
    compiler: list[str], runner: list[str], source: Path
) -> None:
    assert run(*compiler, *WARNINGS, "-O2", "-fsyntax-only", source) == ""


@every_toolchain
def test_kernels_equal_the_byte_loop_on_random_inputs(
    compiler: list[str], runner: list[str], tmp_path: Path
) -> None:
    program = tmp_path / "random_splitter"
    sources = [*SOURCES.glob("*.c"), FUZZ / "fuzz_splitter.c", FUZZ / "random_inputs.c"]
    run(*compiler, *WARNINGS, "-O2", f"-I{SOURCES}", *sources, "-o", program)
    number = random.SystemRandom().getrandbits(31)
    print(f"seed: {number}")
    assert run(*runner, program, 20000, number) == "20000 inputs\n"
