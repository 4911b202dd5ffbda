"""What models write is text, whatever it looks like."""

import pytest
from playwright.async_api import Page, expect

from tests.server.page.doing import PLAIN, answer, run_to_the_end
from tests.support.page_scenes import GLM, HAIKU, LLAMA, MIXTRAL, QWEN
from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

HOSTILE = """<script>window.owned = 1</script>
<img src=x onerror="window.owned = 2"> <svg onload="window.owned = 3"></svg>

[click](javascript:window.owned=4) [data](data:text/html,<script>window.owned=5</script>) ![p](http://evil.test/p.png)

[ok](https://example.test/a?b=c) <https://example.test/auto> https://example.test/bare. <a href="javascript:1">x</a>

[tab](java\tscript:alert(1)) [case](JaVaScRiPt:alert(1)) [vb](vbscript:x) [rel](/api/mixtures) [file](file:///etc/passwd)

# <b>heading</b>

| <i>a</i> | b |
|---|---|
| <iframe src="//evil.test"></iframe> | `<script>` |

```html"><script>window.owned=6</script>
<script>window.owned = 7</script>
```
</style><meta http-equiv="refresh" content="0;url=//evil.test"><base href="//evil.test"><form action="//evil.test">
"""


async def test_hostile_proposals_and_answers_stay_text(page: Page, server: PageServer) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    server.models.scripts = {key: [HOSTILE, PLAIN] for key in (HAIKU, MIXTRAL, LLAMA, QWEN, GLM)}

    await run_to_the_end(page)
    await page.get_by_role("button", name=HAIKU).click()
    sheet = page.get_by_role("dialog", name=HAIKU)
    await expect(sheet).to_contain_text("<script>window.owned = 1</script>")

    await expect(answer(page)).to_contain_text('<img src=x onerror="window.owned = 2">')
    dangerous = "script, img, svg, iframe, form, base, meta, style, object, embed, b, i"
    for place in (answer(page), sheet.locator(".prose")):
        await expect(place.locator(dangerous)).to_have_count(0)
        links = await place.locator("a").evaluate_all("links => links.map(a => [a.href, a.rel, a.target])")
        assert {href for href, _, _ in links} == {
            "https://example.test/a?b=c",
            "https://example.test/auto",
            "https://example.test/bare",
            "http://evil.test/p.png",
        }
        assert {(rel, target) for _, rel, target in links} == {("noopener noreferrer nofollow", "_blank")}
    assert await page.evaluate("window.owned") is None
    assert all(url.startswith((server.url, "blob:")) for url in fetched)


async def test_hostile_names_of_models_and_mixtures_stay_text(page: Page, server: PageServer) -> None:
    record = {
        "id": "1",
        "at": "<img src=x onerror=window.owned=1>",
        "request": {
            "prompt": "<img src=x onerror=window.owned=2>",
            "mixture": {
                "name": "<script>window.owned=3</script>",
                "layers": [{"proposers": [{"model": "x/<img src=x onerror=window.owned=4>"}]}],
                "aggregator": {"model": "x/'\"><img src=x onerror=window.owned=5>"},
            },
        },
        "runs": [[{"type": "error", "error": {"code": "<b>", "message": "<img src=x onerror=window.owned=6>"}}]],
    }
    await page.evaluate("record => localStorage.setItem('moa.history', JSON.stringify([record]))", record)
    await page.get_by_role("button", name="History").click()
    await page.locator(".history-open").click()

    await expect(page.get_by_role("heading", name="<script>window.owned=3</script>").first).to_be_visible()
    await expect(page.locator("main img")).to_have_count(0)
    assert await page.evaluate("window.owned") is None


async def test_a_damaged_record_says_so_and_breaks_nothing(page: Page) -> None:
    mixture = {"name": "m", "layers": [], "aggregator": {"model": "fake/a"}}
    request = {"prompt": "Damaged", "mixture": mixture}
    kinds = ("run_finished", "proposal_finished", "run_started")
    records = [{"id": kind, "at": "now", "request": request, "runs": [[{"type": kind}]]} for kind in kinds]
    await page.evaluate("records => localStorage.setItem('moa.history', JSON.stringify(records))", records)
    for place in range(len(kinds)):
        await page.get_by_role("button", name="History").click()
        await page.locator(".history-open").nth(place).click()

        await expect(page.get_by_text("its record is damaged")).to_be_visible()
        await expect(page.get_by_role("button", name="Run")).to_be_enabled()
