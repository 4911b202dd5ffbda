import asyncio
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.output_issues import is_cut_off
from moa.evaluation._data.outputs import Output
from moa.evaluation._notebook import evaluation_html, progress_html, written_html
from moa.evaluation._pipeline import Evaluation
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.progress import Progress
from tests.evaluation.report_case import HOSTILE, PROMPTS, run_case
from tests.support import pages
from tests.support.browser import CHROMIUM, launched

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of some."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = asyncio.run(run_case(tmp_path_factory.mktemp("run") / "trial"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text())


def test_no_text_of_an_output_becomes_html(run: Path, page: Page) -> None:
    html = (run / "report.html").read_text()

    assert "<script>alert" not in html
    assert [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "b-because")] == []
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert sum(HOSTILE in text for text in page.texts) > len(PROMPTS)
    assert not [name for _, given in page.tags for name in given if name.startswith("on") or name == "style"]


def test_the_page_needs_nothing_from_anywhere_and_may_run_its_own_script_only(page: Page) -> None:
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy")

    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    addresses = [given.get(name) for _, given in page.tags for name in ("src", "href", "action") if given.get(name)]
    assert all(address is not None and address.startswith("#") for address in addresses)


def test_the_first_sentence_is_the_verdict_in_all_forms(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())

    assert summary["verdict"] in (run / "report.md").read_text()
    assert re.match(r"(Use|Don't use|Undecided)", summary["verdict"])
    assert summary["proof"] in (run / "report.md").read_text().replace("Win rate", "win rate")


def test_the_summary_has_every_system_with_its_figures(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    systems = {system["role"]: system for system in summary["systems"]}

    assert set(systems) == {"mixture", "aggregator", "member", "without", "shuffled", "baseline"}
    assert systems["mixture"]["economics"]["per_1000_prompts"]["usd"] is None
    assert systems["aggregator"]["economics"]["per_1000_prompts"]["usd"] == pytest.approx(0.2)
    assert systems["baseline"]["economics"]["per_1000_prompts"]["usd"] == pytest.approx(2.0)
    assert systems["mixture"]["hygiene"]["leaks"] == 24
    assert systems["member"]["hygiene"]["cut_off"] == 24
    assert systems["mixture"]["judge"]["missing"] == 1
    assert systems["mixture"]["judge"]["flip_rate"] is not None
    assert systems["mixture"]["copied"]["small"]["share"] > 0.3
    assert set(systems["mixture"]["categories"]) == {"a", "b"}
    assert systems["mixture"]["metrics"]["lc_model"] == "equal_length"
    assert summary["best_member"]["of"] == 3
    assert any("Verdicts are missing" in warning for warning in summary["warnings"])


def test_what_each_proposer_adds_is_in_all_forms(run: Path) -> None:
    effects = json.loads((run / "summary.json").read_text())["effects"]

    assert [(one["name"], one["of"], one["n"], one["changed"]) for one in effects] == [
        ("test.without.small", 2, 24, 24),
        ("test.without.other", 2, 24, 24),
        ("test.shuffled", 1, 24, 0),
    ]
    without, shuffled = effects[0], effects[2]
    # The same verdicts on few prompts: no difference is seen, and little is known.
    assert (without["level"], shuffled["difference"]) == (0.975, 0.0)
    assert shuffled["interval"][0] < -5 < 5 < shuffled["interval"][1]
    low, high = without["interval"]
    markdown = (run / "report.md").read_text()
    figure = f"{without['difference']:+.1f} | {low:+.1f} to {high:+.1f}"
    assert f"| test.without.small | {figure} | 24 (100.0%) |" in markdown
    assert "| test.shuffled | +0.0 | " in markdown
    assert "Mixture less it, points" in (run / "report.html").read_text()


def test_the_browser_has_every_prompt_with_what_the_filters_need(page: Page) -> None:
    shown = [given for _, given in page.tags if given.get("class") == "prompt"]

    assert len(shown) == len(PROMPTS)
    assert {given["data-category"] for given in shown} == {"a", "b"}
    assert {"win", "missing"} <= {given["data-verdict"] for given in shown}
    assert all("leak" in (given["data-flags"] or "") for given in shown)


def test_the_browser_tells_other_systems_verdicts_and_who_the_judge_called_a(page: Page) -> None:
    texts = " ".join(page.texts)

    assert re.search(r"(win|lose|draw) \d+% · [\d,]+ characters", texts)
    assert "A: fake/big, B: test" in texts
    assert "A: test, B: fake/big" in texts


def test_an_answer_is_marked_as_cut_off_as_the_table_counts_it() -> None:
    whole = Output(instruction="i", output="word " * 300, generator="g", finish_reason="stop")

    assert (is_cut_off(whole), is_cut_off(replace(whole, finish_reason="length"))) == (False, True)
    assert is_cut_off(replace(whole, finish_reason=None))


def test_the_markdown_tells_how_the_judge_did_and_how_it_was_measured(run: Path) -> None:
    judge = (run / "report.md").read_text().split("## The judge")[1]

    assert re.search(r"In all, \d+ verdicts took .+ of the judge's time and cost unknown\.", judge)
    assert "| test | – |" in judge
    assert "      - name: test\n" in judge


def test_charts_are_in_the_page_and_beside_it(run: Path, page: Page) -> None:
    names = sorted(path.name for path in (run / "charts").iterdir())

    assert {"tradeoff.svg", "tradeoff.png", "waterfall.svg", "categories.png"} <= set(names)
    assert len([tag for tag, given in page.tags if tag == "svg" and given.get("class") != "range"]) == len(names) // 2
    assert (run / "charts" / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_a_notebook_shows_verdict_figures_and_chart_of_a_report(run: Path) -> None:
    written = write_report(run)
    shown = pages.Page(written_html(written))

    assert written.summary.conclusion.sentence in shown.text
    assert shown.names.count("tr") == 1 + len(written.summary.systems)
    assert shown.names.count("img") == 1
    assert shown.is_inert


def test_a_notebook_shows_how_an_evaluation_ended_whatever_its_folder_is_called() -> None:
    progress = Progress(
        answers=3, answers_total=4, verdicts=1, verdicts_total=2, failed=1, unjudged=0, spent_usd=0.25, unpriced=True,
        elapsed_s=65.0, steps_per_s=None, left_s=None,
    )  # fmt: skip
    done = Evaluation(
        folder=Path("runs") / HOSTILE,
        ended="budget",
        progress=progress,
        settlement=None,
        cause=None,
        is_fruitless=False,
    )
    shown = pages.Page(evaluation_html(done))

    assert shown.is_inert
    assert "3 of 4 answers, 1 of 2 verdicts, 1 failed, 65 s" in pages.Page(progress_html(progress)).text
    assert [cell in shown.text for cell in ("budget", "3 of 4", "1 of 2", "$0.25 + unknown prices", "65 s")] == [
        True
    ] * 5


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="is this the --out of an evaluation"):
        write_report(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_every_column_of_every_table_is_in_sight_at_any_width(run: Path) -> None:
    hidden = "() => [...document.querySelectorAll('.wide')].map(one => one.scrollWidth - one.clientWidth)"
    async with async_playwright() as playwright, launched(playwright) as browser:
        for width in (360, 768, 1100, 1440):
            page = await browser.new_page(viewport={"width": width, "height": 900})
            await page.goto((run / "report.html").as_uri())
            assert set(await page.evaluate(hidden)) == {0}, width
            assert await page.evaluate("document.documentElement.scrollWidth") == width
            await page.close()


def test_systems_are_in_the_order_of_their_figures_and_the_one_that_it_is_about_is_marked(run: Path) -> None:
    html = (run / "report.html").read_text()
    table = html[html.index('<table class="systems">') : html.index("</table>")]
    rates = [float(found) for found in re.findall(r"</small></td>\n<td>([0-9.]+)(?:%| by definition)", table)]

    assert rates == sorted(rates, reverse=True)
    assert table.count('class="subject"') == 1
    assert "<b>test</b>" in table[table.index('class="subject"') :][:80]
    assert table.count('<svg class="range"') >= 4
