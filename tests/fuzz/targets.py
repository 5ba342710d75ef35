"""Every target by its name."""

from __future__ import annotations

from tests.fuzz.fanout import Fanout
from tests.fuzz.identity import IDENTITY
from tests.fuzz.matcher import Matcher
from tests.fuzz.mdns import MDNSPacket
from tests.fuzz.messages import MESSAGES
from tests.fuzz.multistream import Multistream
from tests.fuzz.noise import NOISE
from tests.fuzz.splitter import Splitter
from tests.fuzz.target import Target
from tests.fuzz.websocket import WebSocket
from tests.fuzz.yamux import Yamux, YamuxAlone, YamuxScript

ALL: tuple[type[Target], ...] = (
    Splitter,
    Yamux,
    YamuxAlone,
    YamuxScript,
    Matcher,
    Fanout,
    Multistream,
    *NOISE,
    *IDENTITY,
    *MESSAGES,
    MDNSPacket,
    WebSocket,
)
TARGETS = {target.name: target for target in ALL}
