"""A real browser and a page in it; every test also fails if the page logs an error or breaks its security policy."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.support.browser import CHROMIUM, launched
from tests.support.page_scenes import city_mixture, deep_mixture
from tests.support.page_server import PageServer

expect.set_options(timeout=5_000)

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    async with async_playwright() as playwright, launched(playwright) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_server() -> AsyncIterator[PageServer]:
    """One server and one profile of the browser for all tests, so that the page's files are loaded once."""
    async with PageServer([]) as server:
        yield server


@pytest.fixture
def server(one_server: PageServer) -> PageServer:
    """The server as if it had just been started."""
    one_server.reset([city_mixture(), deep_mixture()])
    return one_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def profile(browser: Browser) -> BrowserContext:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(5_000)
    await context.add_init_script(_WATCH)
    return context


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tab(profile: BrowserContext) -> Page:
    """One tab for all tests: opening one takes longer than most of them."""
    return await profile.new_page()


@pytest_asyncio.fixture(loop_scope="session")
async def blank(tab: Page) -> AsyncIterator[Page]:
    """A tab as if it had just been opened, nowhere yet."""
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    await tab.set_viewport_size({"width": 1280, "height": 900})
    yield tab
    violations = await tab.evaluate("window.violations")
    await tab.evaluate("[localStorage, sessionStorage].forEach((storage) => storage.clear())")
    await tab.unroute_all()
    await tab.emulate_media(color_scheme="null", reduced_motion="null")
    # A refused request shows up in the console by itself; that is the browser's doing, not the page's.
    own = [error for error in errors if "Failed to load resource" not in error]
    assert (own, violations) == ([], [])


@pytest_asyncio.fixture(loop_scope="session")
async def page(blank: Page, server: PageServer) -> Page:
    """The playground, loaded."""
    await blank.goto(server.url)
    await expect(blank.get_by_role("button", name="Run")).to_be_enabled()
    return blank
