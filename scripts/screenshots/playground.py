"""Takes the pictures of the playground that the documentation shows: `python -m scripts.screenshots.playground`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright, expect
from scripts.screenshots.png import save_png
from tests.support.browser import launched
from tests.support.gated import Gate
from tests.support.page_scenes import GLM, MIXTRAL, PROMPT, city_mixture, city_scripts, deep_mixture
from tests.support.page_server import PageServer

_DIALOGS = ("proposal", "history")
WIDTHS = {360: 780, 1600: 1000}


async def take_all() -> None:
    """Write every picture: each state, at both widths, in light and dark."""
    async with async_playwright() as playwright, launched(playwright) as browser:
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                await _states(browser, width, scheme)


async def _states(browser: Browser, width: int, scheme: str) -> None:
    layer, answer = Gate(), Gate()
    async with _opened(browser, width, scheme) as (server, page):
        server.models.scripts = city_scripts(layer, answer, pace_s=0.006)
        await _take(page, "start", width, scheme)
        await page.get_by_label("Prompt", exact=True).fill(PROMPT)
        await page.get_by_label("Compare with one model").check()
        await page.get_by_label("Model to compare with").select_option(f"together/{GLM}")
        await page.get_by_role("button", name="Run").click()
        await expect(page.locator(".card", has_text=MIXTRAL[:12])).to_contain_text("streaming")
        await expect(page.locator(".card.proposer[data-state='failed']")).to_have_count(1)
        await expect(page.locator(".card.proposer[data-state='done']")).to_have_count(1)
        await _take(page, "streaming", width, scheme)
        layer.set()
        answer.set()
        await expect(page.get_by_role("status").first).to_contain_text("The answer is there")
        await page.evaluate("scrollTo(0, 0)")
        await _take(page, "answer", width, scheme)
        await page.get_by_role("button", name=MIXTRAL).click()
        await _take(page, "proposal", width, scheme)
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="History").click()
        await _take(page, "history", width, scheme)
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Edit", exact=True).click()
        await page.get_by_label("Temperature").first.fill("3")
        await expect(page.locator(".field-error:visible")).to_be_visible()
        await _take(page, "edit", width, scheme)


@asynccontextmanager
async def _opened(browser: Browser, width: int, scheme: str) -> AsyncIterator[tuple[PageServer, Page]]:
    viewport = {"width": width, "height": WIDTHS[width]}
    scale = 1.5 if width < 1000 else 1
    context = await browser.new_context(
        viewport=viewport, color_scheme=scheme, device_scale_factor=scale, reduced_motion="reduce"
    )
    async with PageServer([city_mixture(), deep_mixture()]) as server:
        page = await context.new_page()
        await page.goto(server.url)
        await expect(page.get_by_role("button", name="Run")).to_be_enabled()
        yield server, page
        await context.close()


async def _take(page: Page, state: str, width: int, scheme: str) -> None:
    save_png(f"playground-{state}-{width}-{scheme}", await page.screenshot(full_page=state not in _DIALOGS))


if __name__ == "__main__":
    asyncio.run(take_all())
