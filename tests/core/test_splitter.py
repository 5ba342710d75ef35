"""JSONSplitter, both twins: texts, limits, faults, any chunking."""

from __future__ import annotations

import array
import gc
import json
import pickle
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import JSONStreamError, PraxisError, UsageError
from tests.conftest import cuts
from tests.core.splitters import SPLITTERS, Splitters, outcome, split

Chunkings = Callable[[bytes], list[list[bytes]]]

SEPARATORS = [b"", b" ", b"\n", b"\r\n", b"\t \n", b" " * 70]
HIGHEST = 2**30

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.fixture(params=SPLITTERS, ids=str)
def splitters(request: pytest.FixtureRequest) -> Splitters:
    """Both twins, the compiled one with each kernel."""
    found: Splitters = request.param
    return found


def decode_all(data: bytes) -> list[Any]:
    """What the standard library finds in the stream."""
    text, decoder, values, pos = data.decode(), json.JSONDecoder(), [], 0
    while pos < len(text):
        if text[pos] in " \t\r\n":
            pos += 1
        else:
            value, pos = decoder.raw_decode(text, pos)
            values.append(value)
    return values


STREAMS = {
    "nothing": (b"", []),
    "white space only": (b" \r\n\t", []),
    "object": (b'{"a": 1}', [b'{"a": 1}']),
    "empty ones": (b"{}[]", [b"{}", b"[]"]),
    "nested": (b'[[{"a":[]}]]{}', [b'[[{"a":[]}]]', b"{}"]),
    "brackets in strings": (b'["}]\\"]"][1]', [b'["}]\\"]"]', b"[1]"]),
    "escaped backslash before a quote": (b'["\\\\"]["a"]', [b'["\\\\"]', b'["a"]']),
    "strings side by side": (b'"a""b\\"c"""', [b'"a"', b'"b\\"c"', b'""']),
    "scalars by white space": (b"1 true\nnull", [b"1", b"true", b"null"]),
    "scalar before an object": (b"1{}", [b"1", b"{}"]),
    "scalar before an array": (b"1[]", [b"1", b"[]"]),
    "scalar before a string": (b'1"a"2', [b"1", b'"a"', b"2"]),
    "closer of the other kind": (b"[1}", [b"[1}"]),
    "bad UTF-8": (b'"\xff"\xfe', [b'"\xff"', b"\xfe"]),
    "high bytes like ASCII ones": (b"[\xa2\xdc\xfb\xdb]", [b"[\xa2\xdc\xfb\xdb]"]),
    "leading zero": (b"01", [b"01"]),
    "byte order mark": (b"\xef\xbb\xbf{}", [b"\xef\xbb\xbf", b"{}"]),
    "NUL": (b"\0", [b"\0"]),
    "control characters in a string": (b'["\n\0"]', [b'["\n\0"]']),
    "trailing comma": (b"[1,]", [b"[1,]"]),
}

FAULTS = {
    "closer": (b"[1] }", [b"[1]"], "stray '}' between texts"),
    "bracket": (b"]", [], "stray ']' between texts"),
    "comma": (b"1,2", [b"1"], "stray ',' between texts"),
    "colon": (b'"a":1', [b'"a"'], "stray ':' between texts"),
    "backslash between texts": (b"{} \\", [b"{}"], "backslash outside a string"),
    "backslash in an array": (b'{}[\\"', [b"{}"], "backslash outside a string"),
    "backslash in a scalar": (b"1\\n", [], "backslash outside a string"),
    "unfinished array": (b"{}[1,", [b"{}"], "stream ended inside a text of 3 bytes"),
    "unfinished string": (b'"abc', [], "stream ended inside a text of 4 bytes"),
    "unfinished escape": (b'"\\', [], "stream ended inside a text of 2 bytes"),
}

LIMITS = {
    "array over the frame limit": (
        b"[1,2][1,23]",
        {"max_frame": 5},
        [b"[1,2]"],
        "text of at least 6 bytes, limit 5",
    ),
    "string over the frame limit": (
        b'"abc""abcd"',
        {"max_frame": 5},
        [b'"abc"'],
        "text of at least 6 bytes, limit 5",
    ),
    "escape over the frame limit": (
        b'"abc\\"',
        {"max_frame": 5},
        [],
        "text of at least 6 bytes, limit 5",
    ),
    "scalar over the frame limit": (
        b"12345 123456",
        {"max_frame": 5},
        [b"12345"],
        "text of at least 6 bytes, limit 5",
    ),
    "frame limit before depth": (
        b"[[[[[[",
        {"max_frame": 5, "max_depth": 5},
        [],
        "text of at least 6 bytes, limit 5",
    ),
    "frame limit before a backslash": (
        b"[1234\\",
        {"max_frame": 5},
        [],
        "text of at least 6 bytes, limit 5",
    ),
    "depth": (
        b"[[[]]][[{[",
        {"max_depth": 3},
        [b"[[[]]]"],
        "nesting of 4 levels, limit 3",
    ),
    "depth of one": (
        b"[][{",
        {"max_depth": 1},
        [b"[]"],
        "nesting of 2 levels, limit 1",
    ),
    "white space": (
        b"     1     2      ",
        {"max_blank": 5},
        [b"1", b"2"],
        "white space of at least 6 bytes, limit 5",
    ),
}


@pytest.mark.parametrize(("data", "texts"), STREAMS.values(), ids=STREAMS.keys())
def test_json_1_texts_are_found_in_any_chunking(
    splitters: Splitters, chunkings: Chunkings, data: bytes, texts: list[bytes]
) -> None:
    for chunks in chunkings(data):
        found, error, _ = outcome(splitters, chunks)
        assert (found, error) == (texts, None)
        assert {type(text) for text in found} <= {bytes}


@pytest.mark.parametrize(
    ("data", "texts", "message"), FAULTS.values(), ids=FAULTS.keys()
)
def test_json_1_fault_is_raised_after_the_texts_before_it(
    splitters: Splitters,
    chunkings: Chunkings,
    data: bytes,
    texts: list[bytes],
    message: str,
) -> None:
    for chunks in chunkings(data):
        assert outcome(splitters, chunks)[:2] == (texts, message)


@pytest.mark.parametrize(
    ("data", "limits", "texts", "message"), LIMITS.values(), ids=LIMITS.keys()
)
def test_json_2_3_limit_is_enforced_in_any_chunking(
    splitters: Splitters,
    chunkings: Chunkings,
    data: bytes,
    limits: dict[str, int],
    texts: list[bytes],
    message: str,
) -> None:
    for chunks in chunkings(data):
        assert outcome(splitters, chunks, **limits)[:2] == (texts, message)


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
def test_json_3_default_depth_is_128(splitters: Splitters, opener: bytes) -> None:
    closer = b"]" if opener == b"[" else b"}"
    deepest = opener * 128 + closer * 128
    assert split(splitters, deepest) == [deepest]
    _, error, _ = outcome(splitters, [opener * 129])
    assert error == "nesting of 129 levels, limit 128"


def test_json_2_default_frame_is_one_mebibyte(splitters: Splitters) -> None:
    largest = b'"' + b"a" * (2**20 - 2) + b'"'
    assert split(splitters, largest + b"1") == [largest, b"1"]
    for endless in (b'"' + b"a" * 2**20, b"[" + b"1," * 2**19, b"1" * (2**20 + 1)):
        _, error, _ = outcome(splitters, [endless])
        assert error == "text of at least 1048577 bytes, limit 1048576"


def test_json_2_default_white_space_is_64_kib(splitters: Splitters) -> None:
    blank = b" " * 65536
    assert split(splitters, blank + b"1" + blank + b"2" + blank) == [b"1", b"2"]
    for data in (blank + b"\n", b"1" + blank + b"\n2"):
        _, error, _ = outcome(splitters, [data])
        assert error == "white space of at least 65537 bytes, limit 65536"


def test_json_2_an_endless_text_holds_no_more_than_the_limit(
    splitters: Splitters,
) -> None:
    splitter = splitters.make(max_frame=1000)
    splitter.receive_data(b"[" * 100)
    for size in range(101, 1001):
        splitter.receive_data(b"1")
        assert splitter.pending == size
    with pytest.raises(JSONStreamError, match="at least 1001 bytes, limit 1000"):
        splitter.receive_data(b"1")
    assert splitter.pending == 0


def test_pending_counts_the_open_text_only(splitters: Splitters) -> None:
    splitter = splitters.make()
    for chunk, pending in [
        (b"  ", 0),
        (b'[1] ["a', 3),
        (b"\\", 4),
        (b'"', 5),
        (b'"', 6),
        (b"] 12", 2),
        (b" ", 0),
    ]:
        splitter.receive_data(chunk)
        assert splitter.pending == pending


def test_error_is_raised_by_every_later_call(splitters: Splitters) -> None:
    splitter = splitters.make()
    assert splitter.receive_data(b"[1]}[2]") == [b"[1]"]
    assert splitter.pending == 0
    for call in (
        lambda: splitter.receive_data(b""),
        lambda: splitter.receive_data(b"[3]"),
        splitter.receive_eof,
    ):
        with pytest.raises(JSONStreamError, match=r"^stray '}' between texts$"):
            call()


def test_unfinished_text_is_raised_by_every_later_call(
    splitters: Splitters,
) -> None:
    splitter = splitters.make()
    splitter.receive_data(b"[1")
    for _ in range(2):
        with pytest.raises(JSONStreamError, match="inside a text of 2 bytes"):
            splitter.receive_eof()
    with pytest.raises(JSONStreamError, match="inside a text of 2 bytes"):
        splitter.receive_data(b"]")
    assert splitter.pending == 0


def test_bare_scalar_ends_with_the_stream(splitters: Splitters) -> None:
    splitter = splitters.make()
    assert splitter.receive_data(b"4") == []
    assert splitter.receive_data(b"2") == []
    assert splitter.pending == 2
    assert splitter.receive_eof() == [b"42"]
    assert splitter.pending == 0
    assert splitter.receive_eof() == []


def test_data_after_the_end_is_refused(splitters: Splitters) -> None:
    splitter = splitters.make()
    assert splitter.receive_eof() == []
    with pytest.raises(UsageError, match=r"^data after the end of the stream$"):
        splitter.receive_data(b"1")


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: memoryview(b"xx" + data)[2:],
        lambda data: array.array("I", data),
        lambda data: memoryview(data).cast("B", (4, 3)),
    ],
    ids=["bytes", "bytearray", "memoryview", "slice", "array", "matrix"],
)
def test_any_contiguous_buffer_is_taken(
    splitters: Splitters, make: Callable[[bytes], Any]
) -> None:
    texts = splitters.make().receive_data(make(b'[1]"ab"{} [2'))
    assert texts == [b"[1]", b'"ab"', b"{}"]
    assert [type(text) for text in texts] == [bytes] * 3


@pytest.mark.parametrize("data", ["[1]", None, 1, [1], memoryview(b"[1]")[::2]])
def test_other_input_is_refused_and_nothing_is_lost(
    splitters: Splitters, data: Any
) -> None:
    splitter = splitters.make()
    splitter.receive_data(b"[1")
    name = type(data).__name__
    with pytest.raises(UsageError, match=f"^data of type {name}, expected a contig"):
        splitter.receive_data(data)
    assert splitter.receive_data(b"]") == [b"[1]"]


def test_input_may_be_reused_after_the_call(splitters: Splitters) -> None:
    splitter = splitters.make()
    buf = bytearray(b'[1] "ab')
    texts = splitter.receive_data(buf)
    buf[:] = b"x" * len(buf)
    buf.append(0)
    assert texts + splitter.receive_data(b'c"') == [b"[1]", b'"abc"']


@pytest.mark.parametrize("name", ["max_frame", "max_depth", "max_blank"])
@pytest.mark.parametrize("value", [0, -1, HIGHEST + 1, 2**100, 1.5, "8", None, True])
def test_limit_out_of_range_is_refused(
    splitters: Splitters, name: str, value: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        splitters.make(**{name: value})
    expected = f"{name} of {value!r}, expected a whole number from 1 to {HIGHEST}"
    assert str(caught.value) == expected


def test_highest_limits_are_taken(splitters: Splitters) -> None:
    limits = dict.fromkeys(["max_frame", "max_depth", "max_blank"], HIGHEST)
    assert split(splitters, b"  [1] 2", **limits) == [b"[1]", b"2"]


def test_unknown_arguments_are_refused(splitters: Splitters) -> None:
    with pytest.raises(TypeError):
        splitters.make(1000)
    with pytest.raises(TypeError):
        splitters.make(max_size=1000)


def test_splitters_do_not_pickle(splitters: Splitters) -> None:
    with pytest.raises(TypeError, match=r"cannot pickle .*JSONSplitter"):
        pickle.dumps(splitters.make())


def test_a_long_text_in_small_chunks_is_taken_whole(splitters: Splitters) -> None:
    text = json.dumps({"data": ['x\\"[' * 50, {"n": list(range(9))}] * 300}).encode()
    for size in (1, 7, 64, 1460, 4096, 4097, 70000):
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert outcome(splitters, [*chunks, *chunks])[:2] == ([text, text], None)


def test_large_texts_come_whole_one_after_the_other(splitters: Splitters) -> None:
    texts = [b'["' + bytes((97 + n,)) * (n * 150_000) + b'"]' for n in (2, 1, 4, 2)]
    stream = b" ".join(texts)
    chunks = [stream[i : i + 16384] for i in range(0, len(stream), 16384)]
    assert outcome(splitters, chunks)[:2] == (texts, None)


@given(st.lists(VALUES, max_size=5), st.sampled_from(SEPARATORS), st.integers(0, 2**32))
def test_json_1_concatenated_values_come_back(
    values: list[Any], separator: bytes, number: int
) -> None:
    texts = [json.dumps(value).encode() for value in values]
    parts = []
    for text in texts:
        # Two bare scalars need something between them.
        parts += [text, separator if text[-1:] in b'"}]' else separator or b" "]
    stream = b"".join(parts)
    assert decode_all(stream) == values
    for each in SPLITTERS:
        assert split(each, stream) == texts
        chunks = cuts(stream, random.Random(number))
        assert outcome(each, chunks)[:2] == (texts, None)


PIECES = [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b" ", b"1", b"a", b"\xe2"]


@given(
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=80), max_size=60),
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "max_frame": st.sampled_from([1, 2, 5, 64, 100, 2**20]),
            "max_depth": st.sampled_from([1, 2, 5, 128]),
            "max_blank": st.sampled_from([1, 2, 64, 65536]),
        }
    ),
)
def test_any_bytes_give_the_same_in_both_twins_and_any_chunking(
    pieces: list[bytes], number: int, limits: dict[str, int]
) -> None:
    data = b"".join(pieces)
    expected = outcome(SPLITTERS[0], [data], **limits)
    chunked = [[data[i : i + 1] for i in range(len(data))]]
    chunked += [cuts(data, random.Random(number))]
    for each in SPLITTERS:
        for chunks in ([data], *chunked):
            assert outcome(each, chunks, **limits) == expected


def test_empty_feeds_change_nothing(splitters: Splitters) -> None:
    splitter = splitters.make()
    for chunk in (b"", b"[", b"", b"1]2", bytearray(), memoryview(b"")):
        splitter.receive_data(chunk)
    assert splitter.pending == 1
    assert splitter.receive_eof() == [b"2"]


def test_nothing_is_left_behind(splitters: Splitters) -> None:
    text = json.dumps(list(range(300))).encode()
    streams = [text * 5, text + b"}", text + b"1" * 70, text[:-1], b'"\\', b"[" * 129]

    def work() -> None:
        for stream in streams:
            for size in (1000, 100, 17):
                chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
                outcome(splitters, chunks, max_frame=2000)

    work()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One lost text, or one lost error, would come back ninety times.
    assert after - before < 2000


def test_errors_are_of_the_tree(splitters: Splitters) -> None:
    with pytest.raises(PraxisError) as caught:
        splitters.make().receive_data(b"}")
    assert type(caught.value) is JSONStreamError
    assert caught.value.code == 1
