from decimal import Decimal

from moa._ledger import Call, Ledger
from moa._mixture.loading import load
from moa._render.notebook import answer_html, mixture_html
from moa._results import Answer, Degradation, Latency, LayerResult
from tests.render.drawing import attempt, failed, used
from tests.support.pages import Page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> </div></details> \" ' & \u202e \x1b[2J"


def _answer(text: str) -> Answer:
    roster = (used("one", 0, text=text), failed("two", 1, text))
    call = Call(id=1, agent="one", model="lab/one", purpose="proposal", layer=1, attempts=(attempt(output=184),))
    return Answer(
        id="run",
        mixture="pair",
        status="degraded",
        text=text,
        finish_reason="length",
        agent="writer",
        model="lab/writer",
        ledger=Ledger(calls=(call,)),
        latency=Latency(total_s=2.5, first_token_s=None, critical_path_s=2.5, overhead_s=0.0),
        layers=(LayerResult(number=1, roster=roster, closed_by="all", started_s=0.0, duration_s=1.3),),
        degraded=(Degradation(agent="two", code="rate_limited", message=text),),
    )


def test_an_answer_shows_its_text_its_totals_and_why_it_is_degraded() -> None:
    shown = Page(answer_html(_answer("forty-two"))).text

    assert "degraded · cut off at max_tokens" in shown
    assert "two: forty-two" in shown
    assert "2.5 s · 1 call · 10 in + 184 out tokens · $0.00023" in shown


def test_an_answers_proposals_fold_open_and_the_waterfall_too() -> None:
    page = Page(answer_html(_answer("forty-two")))

    assert page.names.count("details") == 3
    assert page.names.count("summary") == 3
    assert "layer 1 · one" in page.text
    assert "layer 1 · two" in page.text
    assert page.text.count("forty-two") == 4


def test_no_text_of_a_model_becomes_markup_in_an_answer() -> None:
    html = answer_html(_answer(EVIL))
    page = Page(html)

    assert page.is_inert
    assert page.text.count("<script>alert(1)</script>") == 4
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_a_mixture_shows_its_layers_in_order_from_prompt_to_answer() -> None:
    mixture = load(
        {
            "name": "pair",
            "layers": [
                {
                    "proposers": [
                        {"model": "lab/a", "samples": 2, "temperature": 0.7},
                        {"model": "lab/b", "name": "Bea"},
                    ]
                },
                {"proposers": [{"model": "lab/c", "fallback": ["lab/d"], "role": "Doubt everything."}]},
            ],
            "aggregator": {"model": "lab/e"},
            "budget_usd": Decimal("0.5"),
        }
    )  # fmt: skip

    shown = Page(mixture_html(mixture)).text

    wanted = [
        "prompt", "layer 1 · 3 proposers", "lab/a", "× 2", "temperature 0.7", "Bea", "lab/b", "layer 2 · 1 proposer",
        "lab/c", "if it fails: lab/d", "role: Doubt everything.", "aggregator · synthesis", "lab/e", "answer",
    ]  # fmt: skip
    places = [shown.index(text, shown.index("prompt")) for text in wanted]
    assert places == sorted(places)


def test_a_model_alone_has_no_layers_and_nothing_in_a_mixture_becomes_markup() -> None:
    alone = {"name": EVIL, "description": EVIL, "layers": [], "aggregator": {"model": "lab/e", "role": EVIL}}
    page = Page(mixture_html(load(alone)))

    assert page.is_inert
    assert "layer 1" not in page.text
    assert "<script>alert(1)</script>" in page.text
