"""A run on the page, from the prompt to the answer."""

import re

import pytest
from playwright.async_api import Page, Route, expect

from moa.errors import ServiceFailed
from moa.providers._base import TextDelta
from moa.providers._scripted import Pause
from tests.server.page.doing import PLAIN, announcer, answer, card, run, run_to_the_end, type_prompt
from tests.support.gated import Gate
from tests.support.page_scenes import GLM, HAIKU, LLAMA, MIXTRAL, NOVA, QWEN, city_scripts
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


def opened_gate() -> Gate:
    inflight = Gate()
    inflight.set()
    return inflight


async def test_page_shows_the_layers_of_the_first_mixture_when_it_opens(page: Page) -> None:
    await expect(page.get_by_role("heading", name="city-guide")).to_be_visible()
    await expect(page.get_by_role("region", name="Layer 1, 4 proposers").get_by_role("listitem")).to_have_count(4)
    await expect(card(page, GLM)).to_contain_text("Aggregator")
    await expect(card(page, HAIKU)).to_contain_text("temperature 0.5, at most 512 tokens")
    await expect(page.get_by_text("Type a prompt and press Enter")).to_be_visible()


async def test_cards_tell_every_agents_state_while_the_run_goes_on(page: Page, server: PageServer) -> None:
    layer, last = Gate(), Gate()
    server.models.scripts = city_scripts(layer, last)

    await run(page)
    await expect(card(page, MIXTRAL)).to_contain_text("streaming")
    await expect(card(page, MIXTRAL)).to_contain_text("Start at Alcatraz Island")
    await expect(card(page, HAIKU)).to_contain_text("done")
    await expect(card(page, LLAMA)).to_contain_text("cut off")
    await expect(card(page, QWEN)).to_contain_text("failed")
    await expect(card(page, QWEN)).to_contain_text("503")
    await expect(card(page, GLM)).to_contain_text("waiting")
    await expect(page.locator(".edges path[data-state='lost']")).to_have_count(1)
    layer.set()
    await expect(card(page, GLM)).to_contain_text("streaming")
    await expect(page.locator(".edges path[data-state='flowing']")).not_to_have_count(0)
    last.set()
    await expect(card(page, GLM)).to_contain_text("done")


async def test_answer_streams_as_markdown_and_ends_with_its_books(page: Page, server: PageServer) -> None:
    last = Gate()
    server.models.scripts = city_scripts(opened_gate(), last)

    await run(page)
    await expect(answer(page).locator("strong").first).to_have_text("Cross the Golden Gate Bridge on a bicycle.")
    await expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    last.set()
    await expect(answer(page).get_by_role("table")).to_contain_text("Bridge by bicycle")
    await expect(page.get_by_text("Degraded: less than the mixture planned")).to_be_visible()
    await expect(page.get_by_role("row", name="Calls")).to_contain_text("5")
    await expect(page.locator("#totals").get_by_role("row", name="Cost")).to_contain_text("$0.00089")
    await expect(page.get_by_role("list", name="Calls over time").get_by_role("listitem")).to_have_count(5)
    await expect(announcer(page)).to_have_text("The answer is there, degraded.")


async def test_a_card_opens_to_the_whole_proposal_with_its_attempts(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page)

    await page.get_by_role("button", name=HAIKU).click()
    sheet = page.get_by_role("dialog", name=HAIKU)
    await expect(sheet).to_contain_text("Ride a historic cable car")
    await expect(sheet.get_by_role("row").nth(1)).to_contain_text("$0.00032")
    await page.keyboard.press("Escape")
    await expect(sheet).to_be_hidden()
    await expect(page.get_by_role("button", name=HAIKU)).to_be_focused()


@pytest.mark.parametrize("how", ["button", "escape"])
async def test_stopping_cancels_every_call(page: Page, server: PageServer, how: str) -> None:
    names = (HAIKU, MIXTRAL, LLAMA, QWEN)
    server.models.scripts = {name: ["half a ", Pause(float("inf"))] for name in names}

    await run(page)
    for name in names:
        await expect(card(page, name)).to_contain_text("half a")
    if how == "button":
        await page.get_by_role("button", name="Stop").click()
    else:
        await page.keyboard.press("Escape")
    await expect(page.get_by_text("Every call that was still running has been cancelled")).to_be_visible()
    for name in names:
        await expect(card(page, name)).to_contain_text("stopped")
    await server.until(lambda: server.models.played.left_early == len(names))
    await expect(page.get_by_role("button", name="Run")).to_be_enabled()


async def test_a_single_model_runs_beside_the_mixture_when_asked_for(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await page.get_by_label("Compare with one model").check()
    await page.get_by_label("Model to compare with").select_option(f"bedrock/{NOVA}")

    await run_to_the_end(page)

    await expect(page.locator(".answer")).to_have_count(2)
    await expect(page.get_by_role("article", name=f"bedrock/{NOVA}")).to_contain_text("Golden Gate Park")
    await expect(page.get_by_role("row", name="Calls")).to_contain_text("5.0×")
    bodies = {str(body["mixture"])[:9]: body for body in server.runs}
    assert bodies["city-guid"]["mixture"] == "city-guide"
    alone = next(body["mixture"] for body in server.runs if body["mixture"] != "city-guide")
    assert alone["aggregator"] == {"model": f"bedrock/{NOVA}", "max_tokens": 1024}


async def test_options_reach_the_server(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await page.get_by_text("Options").click()
    await page.get_by_label("System message").fill("Be brief.")
    await page.get_by_label("Seed").fill("7")
    await page.get_by_label("Limit, seconds").fill("30")

    await run_to_the_end(page, "Hello")

    (body,) = server.runs
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert body == {"mixture": "city-guide", "messages": messages, "seed": 7, "deadline_s": 30}


async def test_an_empty_prompt_is_refused_at_the_prompt(page: Page, server: PageServer) -> None:
    await run(page, "   ")

    await expect(page.get_by_text("Type a prompt first.")).to_be_visible()
    await expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    assert server.runs == []


async def test_a_failed_run_says_why_and_what_was_spent(page: Page, server: PageServer) -> None:
    broken = ServiceFailed("the service answered 500", model="fake/any")
    server.models.scripts = {HAIKU: ["some text", PLAIN], MIXTRAL: [broken], LLAMA: [broken], QWEN: [broken]}
    server.models.scripts[GLM] = [broken]

    await run_to_the_end(page)

    await expect(page.locator(".notice.bad").first).to_contain_text("The run failed.")
    await expect(page.locator(".notice.bad").first).to_contain_text("500")
    await expect(card(page, HAIKU)).to_contain_text("done")
    await expect(card(page, GLM)).to_contain_text("failed")
    await expect(page.get_by_role("row", name="Calls")).to_contain_text("5")


async def test_a_connection_that_breaks_off_is_a_failed_run(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(Gate(), Gate())
    await run(page)
    await expect(card(page, MIXTRAL)).to_contain_text("streaming")

    server.drop()

    await expect(page.get_by_text("The connection broke off before the run had ended.")).to_be_visible()
    await expect(page.get_by_role("button", name="Run")).to_be_visible()


async def test_thousands_of_pieces_are_drawn_frame_by_frame(page: Page, server: PageServer) -> None:
    number = 4000
    quick = ["yes", PLAIN]
    server.models.scripts = dict.fromkeys((HAIKU, MIXTRAL, LLAMA, QWEN), quick)
    server.models.scripts[GLM] = [TextDelta(f"word{index} " if index % 50 else "\n\n- ") for index in range(number)]
    await page.evaluate(
        """() => {
          window.drawn = 0;
          new MutationObserver(() => { window.drawn += 1; }).observe(document.getElementById("answers"),
            { subtree: true, childList: true });
        }"""
    )

    await run_to_the_end(page)

    await expect(answer(page)).to_contain_text(f"word{number - 1}")
    assert 0 < await page.evaluate("window.drawn") < number / 4


async def test_enter_while_a_character_is_composed_does_not_run(page: Page, server: PageServer) -> None:
    await type_prompt(page, "に")
    await page.get_by_label("Prompt", exact=True).dispatch_event(
        "keydown", {"key": "Enter", "isComposing": True, "bubbles": True}
    )

    await expect(page.get_by_role("button", name="Run")).to_be_visible()
    assert server.runs == []


async def test_a_mixture_is_compared_with_a_model_that_only_an_endpoint_lists(page: Page, server: PageServer) -> None:
    async def listed(route: Route) -> None:
        await route.fulfill(json={"served": [], "others": ["bedrock/paid-for", "together/another"]})

    await page.route("**/api/models", listed)
    await page.reload()
    await page.get_by_label("Compare with one model").check()
    await page.get_by_label("Model to compare with").select_option("bedrock/paid-for")
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page)

    assert [run["mixture"] for run in server.runs][1]["aggregator"]["model"] == "bedrock/paid-for"


async def test_tokens_are_shown_as_in_and_out_on_cards_and_in_the_timeline(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page)

    in_and_out = re.compile(r"[\d,]+ \+ [\d,]+ tok")
    await expect(card(page, HAIKU)).to_contain_text(in_and_out)
    await expect(page.locator("#waterfall")).to_contain_text(in_and_out)
