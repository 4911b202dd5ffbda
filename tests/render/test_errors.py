import json

from moa._ledger import Call, Ledger
from moa._render.errors import failure_dict, failure_ledger, failure_lines
from moa.errors import AnswerInterrupted, ConfigError, LayerFailed, RateLimited, ServiceFailed
from tests.render.drawing import attempt

LEDGER = Ledger(
    calls=(Call(id=1, agent="a", model="lab/a", purpose="proposal", layer=1, attempts=(attempt(output=5),)),)
)
LAYER = LayerFailed(
    layer=1,
    needed=2,
    got=0,
    ledger=LEDGER,
    failures=[RateLimited("slow \x1b[2Jdown", model="lab/a"), ServiceFailed("overloaded", model="lab/b")],
)


def test_failure_lines_give_every_agents_real_cause_a_line_of_its_own() -> None:
    assert failure_lines(LAYER) == (
        "layer 1: 0 of 2 needed proposals arrived",
        "  lab/a: slow ␛[2Jdown",
        "  lab/b: overloaded",
    )


def test_failure_lines_keep_the_place_of_a_configuration_error() -> None:
    assert failure_lines(ConfigError("is no number", key="endpoints.lab.x")) == ("endpoints.lab.x: is no number",)


def test_failure_dict_has_the_error_its_causes_and_the_books() -> None:
    document = json.loads(json.dumps(failure_dict(LAYER)))

    assert document["error"]["code"] == "layer_failed"
    assert [(cause["model"], cause["code"]) for cause in document["failures"]] == [
        ("lab/a", "rate_limited"),
        ("lab/b", "service_failed"),
    ]
    assert document["calls"][0]["model"] == "lab/a"
    assert (document["cost_usd"], document["unpriced"], document["partial_text"]) == (0.00023, [], "")


def test_failure_dict_has_the_part_of_the_answer_that_was_shown() -> None:
    error = AnswerInterrupted("the answer broke off", partial_text="Once upon", ledger=LEDGER)

    assert failure_dict(error)["partial_text"] == "Once upon"


def test_failure_ledger_is_empty_for_what_failed_before_any_call() -> None:
    assert failure_ledger(ConfigError("wrong")) == Ledger()
    assert failure_ledger(LAYER) is LEDGER
