"""What the hooks of the site's build look for."""

import runpy
from pathlib import Path

import pytest

HOOKS = runpy.run_path(str(Path(__file__).parent.parent.parent / "scripts" / "docs_hooks.py"))


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<script async src='//cdn.example/x.js'>",
        '<img alt="" src="http://cdn.example/x.png">',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "@import url('https://fonts.example/css');",
        "body { background: url(//cdn.example/x.png) }",
    ],
)
def test_what_a_browser_would_load_from_another_host_is_found(page: str) -> None:
    assert len(HOOKS["foreign_loads"](page)) == 1


@pytest.mark.parametrize(
    "page",
    [
        '<script src="assets/x.js"></script><img src="../images/x.png"><link rel="stylesheet" href="style.css">',
        '<a href="https://arxiv.org/abs/2406.04692">a link that the reader may follow</a>',
        '<link rel="canonical" href="https://docs.example/index.html">',
        "body { background: url(data:image/png;base64,AAAA) }",
    ],
)
def test_what_stays_on_the_site_is_left_alone(page: str) -> None:
    assert HOOKS["foreign_loads"](page) == []


def test_the_double_colon_before_code_in_docstrings_is_not_shown() -> None:
    assert HOOKS["on_page_content"]("<p>Runs mixtures.</p>\n<p>::</p>\n<pre>x</pre>", page=None) == (
        "<p>Runs mixtures.</p>\n<pre>x</pre>"
    )
