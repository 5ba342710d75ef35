"""A real browser without a window, driven by its own driver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.interop.install import BROWSER, DRIVER

# Far more than anything here takes; only a hung test waits as long.
PATIENCE = 60.0

# What every page of the tests does.
SCRIPT = (Path(__file__).parent / "page.js").read_text()

OPTIONS = (
    "--headless=new",
    # Its sandbox does not work for root or in a container; all pages are ours.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    # Sites with names, all of them here.
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)


class Tab:
    """A page; whoever waits for it leaves the loop to the servers it talks to."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    async def open(self, url: str) -> None:
        """Go to a page, whose origin is that of the URL, and run ours there."""
        await asyncio.to_thread(self._driver.get, url)
        await self.run(SCRIPT)

    async def run(self, code: str, *arguments: Any) -> Any:
        """What the code returns."""
        return await asyncio.to_thread(self._driver.execute_script, code, *arguments)

    async def until(self, condition: str) -> None:
        """Returns when the expression is true in the page."""
        async with asyncio.timeout(PATIENCE):
            while not await self.run(f"return Boolean({condition})"):
                await asyncio.sleep(0.02)


@contextmanager
def browser() -> Iterator[Chrome]:
    """A browser with a profile of its own."""
    assert BROWSER, "chromium is not installed"
    assert DRIVER, "chromedriver is not installed"
    options = ChromeOptions()
    options.binary_location = BROWSER
    for option in OPTIONS:
        options.add_argument(option)
    # With the path of the driver selenium downloads nothing.
    driver = Chrome(options, ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
