"""The hot paths, compiled where the compiled core is installed.

`BACKEND` says which twin is in use: "core" (compiled) or "pure" (plain Python).
`PRAXIS_FAST_PURE=1` forces the plain twins. All names come from one package; the two
are never mixed. `KERNEL` names the instruction set the compiled splitter uses, "" with
the plain twins; `PRAXIS_FAST_KERNEL` forces one of `avx512`, `avx2`, `neon`, `scalar`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = [
    "BACKEND",
    "KERNEL",
    "JSONSplitter",
    "YamuxSession",
    "Matcher",
    "Group",
    "Fanout",
    "send_turn",
    "StreamOpened",
    "DataReceived",
    "StreamClosed",
    "StreamReset",
    "WindowOpened",
    "PingReceived",
    "PongReceived",
    "GoAway",
]

PURE = os.environ.get("PRAXIS_FAST_PURE", "") not in ("", "0")


def _is_compiled() -> bool:
    """Whether the compiled core is wanted and importable."""
    if PURE:
        return False
    try:
        import praxis_fast._core.fanout
        import praxis_fast._core.matcher
        import praxis_fast._core.sender
        import praxis_fast._core.splitter
        import praxis_fast._core.yamux  # noqa: F401
    except ImportError:
        return False
    return True


if TYPE_CHECKING or not _is_compiled():
    from praxis_fast._pure.fanout import Fanout
    from praxis_fast._pure.matcher import Group, Matcher
    from praxis_fast._pure.sender import send_turn
    from praxis_fast._pure.splitter import JSONSplitter
    from praxis_fast._pure.yamux import (
        DataReceived,
        GoAway,
        PingReceived,
        PongReceived,
        StreamClosed,
        StreamOpened,
        StreamReset,
        WindowOpened,
        YamuxSession,
    )

    BACKEND: str = "pure"
    KERNEL: str = ""
else:
    from praxis_fast._core.fanout import Fanout
    from praxis_fast._core.matcher import Group, Matcher
    from praxis_fast._core.sender import send_turn
    from praxis_fast._core.splitter import JSONSplitter, select_kernel
    from praxis_fast._core.yamux import (
        DataReceived,
        GoAway,
        PingReceived,
        PongReceived,
        StreamClosed,
        StreamOpened,
        StreamReset,
        WindowOpened,
        YamuxSession,
    )

    BACKEND = "core"
    KERNEL = select_kernel(os.environ.get("PRAXIS_FAST_KERNEL"))
