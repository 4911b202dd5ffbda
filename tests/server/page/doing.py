"""What a person does with the page, in a line each."""

import re

from playwright.async_api import Locator, Page, expect

from moa._usage import TokenUsage
from moa.providers._base import Finish

PLAIN = Finish(reason="stop", usage=TokenUsage(input_tokens=10, output_tokens=5), served_by="model")


async def type_prompt(page: Page, text: str = "What is a mixture of agents?") -> None:
    await page.get_by_label("Prompt", exact=True).fill(text)


async def run(page: Page, text: str = "What is a mixture of agents?") -> None:
    """Type a prompt and press Enter."""
    await type_prompt(page, text)
    await page.get_by_label("Prompt", exact=True).press("Enter")


async def run_to_the_end(page: Page, text: str = "What is a mixture of agents?") -> None:
    await run(page, text)
    await expect(page.get_by_role("button", name="Run")).to_be_visible()
    await expect(announcer(page)).to_have_text(re.compile("answer|failed|Stopped"))


def card(page: Page, model: str) -> Locator:
    """The first card of a model."""
    return page.locator(f".card:has(.card-open[title*='{model}'])").first


def answer(page: Page) -> Locator:
    return page.locator(".answer").first.locator(".prose")


def announcer(page: Page) -> Locator:
    return page.locator("#status")
