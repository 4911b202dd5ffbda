"""The mixture edited where it is shown."""

import asyncio
from pathlib import Path

import pytest
import yaml
from playwright.async_api import Locator, Page, Route, expect

from tests.server.page.doing import PLAIN, card, run_to_the_end
from tests.support.page_scenes import GLM, HAIKU, LLAMA, MIXTRAL, QWEN
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def open_editor(page: Page) -> None:
    await page.get_by_role("button", name="Edit", exact=True).click()


def proposer(page: Page, number: int) -> Locator:
    return page.get_by_role("group", name=f"Proposer {number}").first


async def test_an_edited_mixture_is_what_runs(page: Page, server: PageServer) -> None:
    server.models.scripts = {key: ["fine", PLAIN] for key in (HAIKU, MIXTRAL, LLAMA, QWEN, GLM)}
    await open_editor(page)
    await page.get_by_role("button", name="Remove proposer 4 of layer 1").click()
    await proposer(page, 1).get_by_label("Temperature").fill("0.9")
    await proposer(page, 2).get_by_label("Samples").fill("2")
    await page.get_by_label("Aggregator’s prompt").select_option("numbered")
    await page.get_by_role("button", name="Done").click()
    await expect(page.get_by_label("Mixture", exact=True)).to_contain_text("city-guide (edited)")
    await expect(page.locator(".card.proposer")).to_have_count(4)

    await run_to_the_end(page)

    sent = server.runs[0]["mixture"]
    assert [agent["model"] for agent in sent["layers"][0]["proposers"]] == [
        f"bedrock/{m}" for m in (HAIKU, MIXTRAL, LLAMA)
    ]
    assert (sent["layers"][0]["proposers"][0]["temperature"], sent["prompt"]) == (0.9, "numbered")
    asked = [request.model for request in server.models.played.requests]
    assert asked == [HAIKU, MIXTRAL, MIXTRAL, LLAMA, GLM]
    await expect(page.locator(".card.proposer[data-state='done']")).to_have_count(4)


async def test_a_wrong_value_is_complained_of_at_its_field(page: Page) -> None:
    await open_editor(page)
    field = proposer(page, 2).get_by_label("Temperature")

    await field.fill("hot")
    await expect(proposer(page, 2).locator(".field-error:visible")).to_contain_text("expected a number")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await field.fill("0.3")
    await expect(field).not_to_have_attribute("aria-invalid", "true")


async def test_a_complaint_without_a_field_stands_above_them(page: Page) -> None:
    await open_editor(page)
    await page.get_by_role("button", name="Edit as YAML").click()
    text = page.get_by_label("Mixture as YAML")
    await text.fill("name: x\nlayers: []\naggregator: {model: fake/a}\nlayres: []\n")
    await page.get_by_role("button", name="Use this").click()

    await expect(page.get_by_role("alert").filter(has_text="Line 4")).to_contain_text("layers")
    await text.fill("name: x\nlayers: []\naggregator: {model: fake/only-one}\n")
    await page.get_by_role("button", name="Use this").click()
    await page.get_by_role("button", name="Done").click()
    await expect(page.locator(".card")).to_have_count(1)
    await expect(card(page, "fake/only-one")).to_be_visible()


async def test_yaml_that_the_server_checks_slowly_is_used_although_the_editor_is_closed_meanwhile(page: Page) -> None:
    await open_editor(page)
    is_closed = asyncio.Event()

    async def check_late(route: Route) -> None:
        await is_closed.wait()
        await route.continue_()

    await page.route("**/api/check", check_late)
    await page.get_by_role("button", name="Edit as YAML").click()
    await page.get_by_label("Mixture as YAML").fill("name: x\nlayers: []\naggregator: {model: fake/only-one}\n")
    await page.get_by_role("button", name="Use this").click()
    await page.get_by_role("button", name="Done").click()
    is_closed.set()

    await expect(card(page, "fake/only-one")).to_be_visible()
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.get_by_label("Mixture", exact=True)).to_contain_text("x (edited)")


async def test_a_run_that_is_refused_for_a_value_opens_the_editor_there(page: Page, server: PageServer) -> None:
    await open_editor(page)
    await page.get_by_role("group", name="Aggregator").get_by_label("Max tokens").fill("-1")
    await page.get_by_label("Prompt", exact=True).fill("Hello")
    await page.get_by_label("Prompt", exact=True).press("Control+Enter")

    await expect(page.get_by_role("group", name="Aggregator").locator(".field-error:visible")).to_contain_text("-1")
    assert server.models.played.requests == []


async def test_layers_can_be_added_and_removed(page: Page) -> None:
    await open_editor(page)
    await page.get_by_role("button", name="Add layer").click()
    await expect(page.get_by_role("region", name="Layer 2", exact=False)).to_be_visible()
    await expect(page.get_by_role("region", name="Layer 2", exact=False).get_by_label("Model").first).to_be_focused()
    await page.get_by_role("button", name="Remove layer 1").click()
    await page.get_by_role("button", name="Add a proposer to layer 1").click()
    await page.get_by_role("button", name="Done").click()

    await expect(page.locator(".layer")).to_have_count(2)
    await expect(page.locator(".card.proposer")).to_have_count(5)


async def test_the_mixture_is_saved_as_yaml(page: Page, tmp_path: Path) -> None:
    await open_editor(page)
    await proposer(page, 1).get_by_label("Max tokens").fill("77")
    async with page.expect_download() as caught:
        await page.get_by_role("button", name="Save as YAML").click()
    download = await caught.value
    await download.save_as(tmp_path / "saved.yaml")

    saved = yaml.safe_load((tmp_path / "saved.yaml").read_text(encoding="utf-8"))
    assert download.suggested_filename == "city-guide.yaml"
    assert saved["layers"][0]["proposers"][0]["max_tokens"] == 77


async def test_a_mixture_file_can_be_opened(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nlayers: []\naggregator: {model: fake/mine}\n", encoding="utf-8")
    await open_editor(page)
    async with page.expect_file_chooser() as caught:
        await page.get_by_role("button", name="Open file…").click()
    await (await caught.value).set_files(file)

    await expect(page.get_by_role("heading", name="mine")).to_be_visible()
    await expect(page.get_by_role("group", name="Aggregator").get_by_label("Model")).to_have_value("fake/mine")
