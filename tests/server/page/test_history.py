"""Runs of the past, kept in the browser."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Download, Page, expect

from moa.evaluation._data.datasets import load_instructions
from tests.server.page.doing import answer, card, run_to_the_end
from tests.server.page.test_running import opened_gate
from tests.support.page_scenes import HAIKU, NOVA, city_scripts
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def open_history(page: Page) -> None:
    await page.get_by_role("button", name="History").click()


async def saved(page: Page, button: str) -> tuple[Download, str]:
    async with page.expect_download() as caught:
        await page.get_by_role("button", name=button).click()
    download = await caught.value
    path = await download.path()
    return download, await asyncio.to_thread(path.read_text, encoding="utf-8")


async def choose_file(page: Page, file: Path) -> None:
    async with page.expect_file_chooser() as caught:
        await page.get_by_role("button", name="Import…").click()
    await (await caught.value).set_files(file)


async def test_a_run_is_found_again_after_the_page_was_left(page: Page, server: PageServer) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await page.get_by_label("Compare with one model").check()
    await page.get_by_label("Model to compare with").select_option(f"bedrock/{NOVA}")
    await run_to_the_end(page, "A question of mine")
    await page.reload()
    await open_history(page)
    await expect(page.get_by_role("dialog", name="History")).to_contain_text("$0.00089")

    await page.get_by_role("button", name="A question of mine").first.click()

    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("A question of mine")
    await expect(answer(page)).to_contain_text("San Francisco rewards people who walk")
    await expect(card(page, HAIKU)).to_contain_text("done")
    await expect(card(page, HAIKU)).to_contain_text("Walk or bike across")
    await expect(page.get_by_role("row", name="Calls")).to_contain_text("5.0×")
    await expect(page.get_by_label("Mixture", exact=True)).to_have_value("city-guide")
    assert len(server.runs) == 2


async def test_history_is_exported_deleted_and_imported(page: Page, server: PageServer, tmp_path: Path) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page, "First")
    await run_to_the_end(page, "Second")
    await open_history(page)
    _, text = await saved(page, "Export")
    file = tmp_path / "history.json"
    file.write_text(text, encoding="utf-8")

    await page.get_by_role("button", name="Delete the run “Second”").click()
    await expect(page.locator(".history-list li")).to_have_count(1)
    await page.get_by_role("button", name="Delete all").click()
    await page.get_by_role("button", name="Really delete 1 run?").click()
    await expect(page.get_by_text("No runs yet.")).to_be_visible()
    await choose_file(page, file)

    await expect(page.get_by_text("2 runs imported.")).to_be_visible()
    await expect(page.locator(".history-open strong")).to_have_text(["Second", "First"])


async def test_a_trace_is_shared_as_json_lines_and_opened_again(page: Page, server: PageServer, tmp_path: Path) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page, "Shared")
    download, text = await saved(page, "Save trace")
    head, *events = [json.loads(line) for line in text.splitlines()]
    assert download.suggested_filename.startswith("run-")
    assert (head["type"], head["request"]["prompt"]) == ("trace", "Shared")
    assert (events[0]["type"], events[-1]["type"]) == ("run_started", "run_finished")
    assert sum(event["type"] == "answer_delta" for event in events) > 20

    file = tmp_path / download.suggested_filename
    file.write_text(text.replace(head["id"], "another"), encoding="utf-8")
    await open_history(page)
    await choose_file(page, file)
    await expect(page.get_by_text("1 run imported.")).to_be_visible()
    await page.get_by_role("button", name="Shared").first.click()
    await expect(answer(page)).to_contain_text("San Francisco rewards people who walk")


async def test_a_file_that_is_no_history_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    for text in ("", "{}", "[1]", '{"runs": [{"id": 1}]}', "<b>", '{"type":"trace"'):
        file.write_text(text, encoding="utf-8")
        await open_history(page)

        await choose_file(page, file)

        await expect(page.get_by_text("neither a history nor a trace")).to_be_visible()
        await page.keyboard.press("Escape")


async def test_history_keeps_the_newest_when_there_is_no_more_room(page: Page) -> None:
    kept = await page.evaluate(
        """async () => {
          const history = await import("/history.js");
          const { Session } = await import("/session.js");
          const mixture = { name: "m", layers: [], aggregator: { model: "fake/a" } };
          for (let number = 0; number < 12; number += 1) {
            const session = new Session({ prompt: `${number} ${"x".repeat(600_000)}`, mixture });
            history.keep(session);
          }
          return history.records().map(({ request }) => request.prompt.split(" ")[0]);
        }"""
    )

    assert kept[:3] == ["11", "10", "9"]
    assert len(kept) == 4


async def test_prompts_of_the_history_become_a_prompts_file_for_evaluation(
    page: Page, server: PageServer, tmp_path: Path
) -> None:
    server.models.scripts = city_scripts(opened_gate(), opened_gate())
    await run_to_the_end(page, "First")
    await page.get_by_text("Options", exact=True).click()
    await page.get_by_label("System message").fill("Be brief")
    await run_to_the_end(page, "Second")
    await open_history(page)
    dialog = page.get_by_role("dialog", name="History")
    await expect(dialog.get_by_role("button", name="Save 0 prompts")).to_be_hidden()
    for prompt in ("First", "Second"):
        await dialog.get_by_role("button", name=f"For evaluation: “{prompt}”").click()
    _, text = await saved(page, "Save 2 prompts for evaluation")

    first, second = [json.loads(line) for line in text.splitlines()]
    assert first == {"prompt": "First"}
    assert [turn["content"] for turn in second["messages"]] == ["Be brief", "Second"]

    old = tmp_path / "old.jsonl"
    old.write_text('{"prompt": "Older", "category": "a"}\n{"prompt":"First"}\n')
    async with page.expect_download() as caught:
        async with page.expect_file_chooser() as chooser:
            await dialog.get_by_role("button", name="Add to a prompts file…").click()
        await (await chooser.value).set_files(old)
    path = await (await caught.value).path()
    merged = (await asyncio.to_thread(path.read_text, encoding="utf-8")).splitlines()
    (tmp_path / "prompts.jsonl").write_text("\n".join(merged))
    assert len(load_instructions(tmp_path / "prompts.jsonl")) == 3
    assert merged == [*old.read_text().splitlines(), text.splitlines()[1]]
    await expect(dialog).to_contain_text("1 prompt saved")
