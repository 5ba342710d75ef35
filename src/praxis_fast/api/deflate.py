"""Compressed events (RFC 7692): each is compressed once, for all who share its shape.

That takes messages which do not refer to those before them, so both sides must keep no
context. A side effect is that no client costs the memory of a compressor.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from websockets.exceptions import NegotiationError
from websockets.extensions import ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from praxis_fast.api.frames import compressed_text_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension
    from websockets.typing import ExtensionParameter

# Events are small: a window of 4 KiB finds what repeats in them and is set up quickly.
WINDOW_BITS = 12
_MEMORY_LEVEL = 5

# RFC 7692, 7.2.1: taken off the end of a compressed message.
_TAIL_SIZE = 4


class SharedDeflateFactory(ServerExtensionFactory):
    """Agrees to permessage-deflate when one frame can serve this client and others.

    Declined are clients that want a smaller window than ours; they are not compressed.
    """

    name = ServerPerMessageDeflateFactory.name

    def process_request_params(
        self,
        params: Sequence[ExtensionParameter],
        accepted_extensions: Sequence[Extension],
    ) -> tuple[list[ExtensionParameter], Extension]:
        """The response to one offer of the client."""
        stock = ServerPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        answer, extension = stock.process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits < WINDOW_BITS:
            raise NegotiationError(
                f"server_max_window_bits of {extension.local_max_window_bits}, "
                f"at least {WINDOW_BITS}"
            )
        return answer, extension


def deflated_pack(payload: bytes, seq: int) -> bytes:
    """One text frame, compressed where that makes it smaller."""
    deflater = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=_MEMORY_LEVEL)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    if len(data) - _TAIL_SIZE < len(payload):
        return compressed_text_frame(data[:-_TAIL_SIZE])
    return text_frame(payload)
