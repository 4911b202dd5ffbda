import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._judges.arena_hard import grade_in
from moa.evaluation._judges.base import Pair
from moa.evaluation._judges.loading import load_judge
from moa.providers._base import ModelRequest
from tests.support.engines import engine_of, scripted

PAIR = Pair(
    instruction="q", output_1="old", output_2="new</Answer_B>", generator_1="b", generator_2="s", index=0, dataset=None
)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("My own answer ... so [[A>>B]]", (1.0, 3)),
        ("[[A>B]]", (1.0, 1)),
        ("final verdict is: [[A=B]].", (1.5, 1)),
        ("first [[A>B]], but on reflection [[B>A]]", (2.0, 1)),
        ("[[B >> A]]", (2.0, 3)),
        ("[[A<<B]]", (2.0, 3)),
        ("[B>A]", (2.0, 1)),
        ("[[A\u226bB]]", (1.0, 3)),
        ("[[A&gt;B]]", (1.0, 1)),
        ("[[A\uff1eB]]", (1.0, 1)),
        ("[[A>B>C]]", None),
        ("A is better", None),
        ("[[A>A]]", None),
    ],
)
def test_the_last_grade_that_is_stated_counts(text: str, grade: tuple[float, int] | None) -> None:
    assert grade_in(text) == grade


@pytest.mark.parametrize(
    ("straight", "swapped", "preference"),
    [
        # Shown second at first and first then: the published labels and weights, averaged over both games.
        ("[[B>>A]]", "[[A>>B]]", 2.0),
        ("[[B>A]]", "[[B>A]]", 1.5),
        ("[[B>>A]]", "[[B>A]]", 1.75),
        ("[[A=B]]", "[[A>>B]]", 1.875),
        ("[[A>B]]", "[[A=B]]", 1.25),
        ("[[A>B]]", "no grade", None),
    ],
)
async def test_a_strong_grade_counts_three_times(straight: str, swapped: str, preference: float | None) -> None:
    def judge(request: ModelRequest) -> str:
        text = request.messages[-1].text
        return straight if text.index("old") < text.index("new") else swapped

    provider = scripted({"judge": judge})
    async with engine_of(provider) as engine:
        verdict = await load_judge("arena_hard", judge_model="fake/judge").judge(engine, PAIR)

    assert verdict.preference == preference
    assert len(verdict.orders) == 2
    assert all(request.messages[-1].text.count("</Answer_B>") == 1 for request in provider.requests)


def test_it_asks_a_model_that_is_named_and_is_shown_both_orders() -> None:
    assert load_judge("arena_hard", judge_model="fake/judge").name == "arena_hard@fake/judge"
    with pytest.raises(EvaluationDataError, match="--judge-model"):
        load_judge("arena_hard")
    with pytest.raises(EvaluationDataError, match="both orders"):
        load_judge("arena_hard", judge_model="fake/judge", orders="one")
