"""Those who wait for a write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable


def fail_futures(futures: Iterable[asyncio.Future[Any]], error: BaseException) -> None:
    """Tell whoever still waits that nothing was written."""
    for future in futures:
        if not future.done():
            future.set_exception(error)
            # Not everybody who writes waits for it.
            future.exception()
