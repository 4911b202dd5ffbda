"""The page's own small Markdown, in the browser that runs it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page

from tests.support.page_server import PageServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(profile: BrowserContext, one_server: PageServer) -> AsyncIterator[Page]:
    """Any document of the server’s: what is tested here are functions, which leave nothing behind."""
    page = await profile.new_page()
    await page.goto(f"{one_server.url}/v1/models")
    yield page
    await page.close()


_RENDER = """async (text) => {
  const { markdown } = await import("/markdown.js");
  const holder = document.createElement("div");
  holder.append(...markdown(text));
  const kept = ["href", "start", "class"];
  for (const one of holder.querySelectorAll("*")) {
    for (const name of one.getAttributeNames()) if (!kept.includes(name)) one.removeAttribute(name);
  }
  return holder.innerHTML;
}"""

CASES = {
    "plain": ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
    "emphasis": (
        "*a* **b** ***c*** ~~d~~ _e_",
        "<p><em>a</em> <strong>b</strong> <strong><em>c</em></strong> <del>d</del> <em>e</em></p>",
    ),
    "not emphasis": ("2 * 3 * 4 snake_case_name **open", "<p>2 * 3 * 4 snake_case_name **open</p>"),
    "nested": ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    "code": ("`a*b*` ``c`d``", "<p><code>a*b*</code> <code>c`d</code></p>"),
    "escapes": (r"\*a\* \<b", "<p>*a* &lt;b</p>"),
    "headings": ("# One\n### Three ###\n#no", "<h3>One</h3><h5>Three</h5><p>#no</p>"),
    "fence": ("```py\nx = 1\n\n# y\n```\nafter", "<pre><code>x = 1\n\n# y</code></pre><p>after</p>"),
    "open fence": ("```\nstill", "<pre><code>still</code></pre>"),
    "bullets": ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    "numbers": ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    "loose": ("1. a\n\n   more\n\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"),
    "code in a list": ("1. a\n   ```\n   x\n   ```\n2. b", "<ol><li>a<pre><code>x</code></pre></li><li>b</li></ol>"),
    "tasks": ("- [ ] a\n- [x] b", "<ul><li>☐ a</li><li>☑ b</li></ul>"),
    "quote": ("> a\n> > b\n\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"),
    "rule": ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    "year": ("In\n1986. A year", "<p>In<br>1986. A year</p>"),
    "link": ("[a **b**](https://x.test/(c) 'title')", '<p><a href="https://x.test/(c)">a <strong>b</strong></a></p>'),
    "table": (
        "a | b\n:-: | --:\n1 | `x\\|y`",
        '<div class="scroll"><table><thead><tr><th class="center">a</th><th class="right">b</th></tr></thead>'
        '<tbody><tr><td class="center">1</td><td class="right"><code>x|y</code></td></tr></tbody></table></div>',
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_markdown_becomes_elements(page: Page, name: str) -> None:
    text, expected = CASES[name]

    assert await page.evaluate(_RENDER, text) == expected


async def test_a_growing_text_ends_as_if_drawn_at_once(page: Page) -> None:
    texts = [text for text, _ in CASES.values()]
    whole = "\n\n".join([*texts, *reversed(texts)])

    grown, kept, at_once = await page.evaluate(
        """async (text) => {
          const { MarkdownView, markdown } = await import("/markdown.js");
          const [growing, whole] = [document.createElement("div"), document.createElement("div")];
          const view = new MarkdownView(growing);
          for (let end = 1; end <= text.length; end += 1) view.show(text.slice(0, end));
          whole.append(...markdown(text));
          return [growing.innerHTML, view.kept, whole.innerHTML];
        }""",
        whole,
    )

    assert grown == at_once
    assert kept > len(texts)


@pytest.mark.parametrize(
    "piece",
    ["*", "**a ", "`", "[", "[](", "> ", "- ", "_a", "<", "| ", "#", " ", "~~", "(", "``` ", "![", "a*b", "\\", "1. "],
)
async def test_long_nonsense_is_drawn_in_time(page: Page, piece: str) -> None:
    text = (piece * 30_000)[:60_000]

    length = await page.evaluate(f"async (text) => (await ({_RENDER})(text)).length", text)

    assert length > 0 or not text.strip()


async def test_events_are_read_however_the_bytes_are_cut(page: Page) -> None:
    text = ': keep-alive\n\ndata: {"type": "a", "text": "é€😀"}\n\ndata:{"type":"b"}\r\n\r\ndata: [DONE]\n\n'

    ways = await page.evaluate(
        """async (text) => {
          const { eventsOf } = await import("/sse.js");
          const bytes = new TextEncoder().encode(text);
          const ways = new Set();
          for (let size = 1; size <= bytes.length; size += 1) {
            const parts = [];
            for (let at = 0; at < bytes.length; at += size) parts.push(bytes.slice(at, at + size));
            const body = new ReadableStream({
              start(controller) { parts.forEach((part) => controller.enqueue(part)); controller.close(); },
            });
            const events = [];
            for await (const event of eventsOf({ body })) events.push(event);
            ways.add(JSON.stringify(events));
          }
          return [...ways];
        }""",
        text,
    )

    assert ways == ['[{"type":"a","text":"é€😀"},{"type":"b"}]']
