"""For everybody: keyboard, screen reader, small and large screens, light and dark, without motion."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.server.page.doing import answer, card, run, run_to_the_end
from tests.server.page.test_running import opened_gate
from tests.support.gated import Gate
from tests.support.page_scenes import HAIKU, MIXTRAL, QWEN, city_scripts
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def test_a_run_needs_no_mouse(page: Page, server: PageServer) -> None:
    layer = Gate()
    server.models.scripts = city_scripts(layer, opened_gate())
    seen = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate("document.activeElement.id || document.activeElement.localName"))
    assert seen == ["main-link", "history-open", "prompt", "mixture", "compare", "summary"]

    await page.get_by_label("Prompt", exact=True).focus()
    await page.keyboard.type("By keyboard")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("in two lines")
    await page.keyboard.press("Enter")
    await expect(card(page, MIXTRAL)).to_contain_text("streaming")
    layer.set()
    await expect(page.get_by_role("button", name="Run")).to_be_visible()
    assert server.runs[0]["messages"][0]["content"] == "By keyboard\nin two lines"
    await page.get_by_role("button", name=QWEN).focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name=QWEN)).to_contain_text("503")


async def test_focus_stays_on_the_button_that_changes(page: Page, server: PageServer) -> None:
    layer = Gate()
    server.models.scripts = city_scripts(layer, opened_gate())
    await page.get_by_label("Prompt", exact=True).fill("Hello")
    await page.get_by_role("button", name="Run").focus()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("button", name="Stop")).to_be_focused()
    layer.set()
    await expect(page.get_by_role("button", name="Run")).to_be_focused()


async def test_focus_is_visible_on_every_control(page: Page) -> None:
    for control in await page.locator("button:visible, select:visible, textarea:visible, summary:visible").all():
        await control.focus()
        ringed = await control.evaluate(
            "one => [one, one.closest('.card')].some(e => e && getComputedStyle(e).outlineStyle !== 'none')"
        )
        assert ringed or await control.is_disabled(), await control.evaluate("one => one.outerHTML")


async def test_every_control_has_a_name_and_every_id_is_unique(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page)
    await page.get_by_role("button", name="Edit", exact=True).click()

    nameless, doubled = await page.evaluate(
        """() => {
          const controls = [...document.querySelectorAll("button, input, select, textarea, [role=region]")];
          const name = (one) => one.ariaLabel || one.textContent.trim() && one.localName === "button"
            || [...(one.labels ?? [])].some((label) => label.textContent.trim());
          const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
          return [controls.filter((one) => !name(one)).map((one) => one.outerHTML),
            ids.filter((id, index) => ids.indexOf(id) !== index)];
        }"""
    )

    assert (nameless, doubled) == ([], [])


async def test_screen_readers_hear_of_states_and_not_of_tokens(page: Page, server: PageServer) -> None:
    layer = Gate()
    server.models.scripts = city_scripts(layer, opened_gate())
    await page.evaluate(
        """() => {
          window.heard = [];
          const status = document.getElementById("status");
          new MutationObserver(() => window.heard.push(status.textContent)).observe(status, { childList: true });
        }"""
    )

    await run(page)
    await expect(page.locator("#status")).to_contain_text(f"{HAIKU} done")
    layer.set()
    await expect(page.locator("#status")).to_contain_text("The answer is there")

    assert len(await page.evaluate("window.heard")) <= 6
    live = await page.locator("#picture [aria-live], #answers [aria-live], .prose[aria-live]").count()
    assert live == 0


@pytest.mark.parametrize("width", [360, 1600])
async def test_nothing_overflows_at_any_width(page: Page, server: PageServer, width: int) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await page.set_viewport_size({"width": width, "height": 800})
    await page.get_by_label("Mixture", exact=True).select_option("two-layers")
    await page.get_by_label("Compare with one model").check()
    await run_to_the_end(page, "A question " + "without-a-space" * 20)
    await expect(answer(page)).to_be_visible()

    async def overflow() -> int:
        return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    assert await overflow() <= 0
    await page.get_by_role("button", name="Edit", exact=True).click()
    assert await overflow() <= 0
    outside = await page.evaluate(
        """() => [...document.querySelectorAll("main button, main input, main .card, main .number")]
          .filter((one) => one.offsetParent && !one.closest(".scroll"))
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 || one.getBoundingClientRect().left < -1)
          .map((one) => one.outerHTML.slice(0, 100))"""
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_contrast(page: Page, server: PageServer, scheme: str) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page)

    poor = await page.evaluate(
        """() => {
          const channels = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (one) => {
            for (let at = one; at; at = at.parentElement) {
              const rgb = channels(getComputedStyle(at).backgroundColor);
              if (rgb[3] !== 0) return rgb;
            }
          };
          const own = (one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
          return [...document.querySelectorAll("body *")].filter((one) => own(one) && one.checkVisibility())
            .map((one) => {
              const [a, b] = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
              return [(a + 0.05) / (b + 0.05), one.className || one.localName];
            })
            .filter(([ratio]) => ratio < 4.5);
        }"""
    )

    assert poor == []


async def test_nothing_moves_where_motion_is_not_wanted(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(Gate(), Gate())
    moving = "document.getAnimations().length"

    await run(page)
    await expect(card(page, MIXTRAL)).to_contain_text("streaming")
    assert await page.evaluate(moving) > 0
    await page.emulate_media(reduced_motion="reduce")
    assert await page.evaluate(moving) == 0
    await page.keyboard.press("Escape")


async def test_page_loads_from_its_own_server_only(browser: Browser, server: PageServer) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(server.url)
    await expect(page.get_by_role("button", name="Run")).to_be_enabled()
    await context.close()

    assert len(asked) > 20
    assert all(url.startswith(server.url) for url in asked)
