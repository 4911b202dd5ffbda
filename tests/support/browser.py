"""Debian's Chromium, without anything that calls home."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Playwright

CHROMIUM = shutil.which("chromium")
"""Where it is, None if it isn't."""

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@asynccontextmanager
async def launched(playwright: Playwright) -> AsyncIterator[Browser]:
    """A browser, headless, closed at the end."""
    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
    try:
        yield browser
    finally:
        await browser.close()
