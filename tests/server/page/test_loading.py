"""What the page shows before there is anything to run, and when the server does not play along."""

import pytest
from playwright.async_api import Page, Route, expect

from tests.server.page.doing import card, run
from tests.support.page_scenes import HAIKU
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def test_a_server_that_fails_is_reported_and_can_be_tried_again(blank: Page, server: PageServer) -> None:
    server.refusal = (503, {"code": "draining", "message": "the server is going down"})
    await blank.goto(server.url)
    await expect(blank.get_by_role("alert").filter(has_text="the server is going down")).to_be_visible()
    await expect(blank.get_by_role("button", name="Run")).to_be_disabled()

    server.refusal = None
    await blank.get_by_role("button", name="Try again").click()

    await expect(card(blank, HAIKU)).to_be_visible()
    await expect(blank.get_by_role("button", name="Run")).to_be_enabled()


async def test_a_server_that_can_not_be_reached_is_named_as_such(blank: Page, server: PageServer) -> None:
    async def cut(route: Route) -> None:
        await route.abort("connectionrefused")

    await blank.route("**/api/mixtures", cut)
    await blank.goto(server.url)

    await expect(blank.get_by_text("Is moa serve still running?")).to_be_visible()


async def test_a_server_without_mixtures_says_how_to_get_one(blank: Page, server: PageServer) -> None:
    server.reset([])
    await blank.goto(server.url)

    await expect(blank.get_by_text("moa serve -m my-mixture.yaml")).to_be_visible()


async def test_a_key_is_asked_for_where_the_server_wants_one(blank: Page, server: PageServer) -> None:
    server.refusal = (401, {"code": "invalid_api_key", "message": "give a key"})
    await blank.goto(server.url)
    await expect(blank.get_by_role("dialog", name="This server asks for an API key")).to_be_visible()

    server.refusal = None
    await blank.get_by_role("textbox", name="API key").fill("secret-1")
    await blank.keyboard.press("Enter")

    await expect(card(blank, HAIKU)).to_be_visible()
    assert server.keys[-1] == "Bearer secret-1"


async def test_a_run_that_the_server_refuses_shows_its_sentence(page: Page, server: PageServer) -> None:
    server.refusal = (429, {"code": "too_many_runs", "message": "the server is busy: try again in 2 s"})

    await run(page)

    await expect(page.get_by_role("alert").filter(has_text="the server is busy")).to_be_visible()
    await expect(page.get_by_role("button", name="Run")).to_be_visible()
