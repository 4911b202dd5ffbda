from moa._render.live import LiveRun, finished_line
from moa._render.progress import RunProgress
from moa.events import AnswerDelta, CallStarted, LayerStarted, ProposalDelta, ProposalFinished, ProposalRestarted
from tests.render.drawing import attempt, drawn, failed, started, used


def _run() -> RunProgress:
    progress = RunProgress()
    progress.apply(started(("fast", "cut", "broken", "late", "busy")), 0.0)
    progress.apply(LayerStarted(layer=1), 10.0)
    progress.apply(ProposalFinished(proposal=used("fast", 0)), 11.2)
    cut = used("cut", 1, finish_reason="length", attempts=(attempt(output=512, cost_usd=None),))
    progress.apply(ProposalFinished(proposal=cut), 11.2)
    progress.apply(ProposalFinished(proposal=failed("broken", 2, "slow down\x1b[2J please")), 11.3)
    progress.apply(ProposalFinished(proposal=failed("late", 3, "slower than the mixture waits", "abandoned")), 11.3)
    progress.apply(ProposalDelta(1, 4, "eight by"), 11.4)
    return progress


def test_live_run_shows_each_agents_state_time_tokens_and_cost() -> None:
    assert drawn(LiveRun(_run(), lambda: 12.5), width=70) == (
        "layer 1\n"
        " ✓ fast        done         1.2 s    184 tok  $0.00023\n"
        " ✓ cut         cut off      1.2 s    512 tok   price ?\n"
        " ✗ broken      failed      340 ms\n"
        " ⊘ late        abandoned   340 ms\n"
        " ⠴ busy        writing      2.5 s     ~2 tok\n"
        "   broken: slow down␛[2J please\n"
        "   late: slower than the mixture waits\n"
        "aggregator\n"
        " ○ lab/writer  waiting"
    )


def test_live_run_is_drawn_with_ascii_where_the_terminal_has_nothing_else() -> None:
    picture = drawn(LiveRun(_run(), lambda: 12.5), encoding="ascii")

    assert " + fast" in picture
    picture.replace("␛", "").encode("ascii")


def test_live_run_keeps_to_a_narrow_terminal() -> None:
    progress = RunProgress()
    progress.apply(started(("a-model-with-a-very-long-name-indeed-20240307-v1:0",)), 0.0)
    progress.apply(ProposalFinished(proposal=used("a-model-with-a-very-long-name-indeed-20240307-v1:0", 0)), 1.0)

    picture = drawn(LiveRun(progress, lambda: 1.0), width=60)

    assert max(map(len, picture.splitlines())) <= 60
    assert "a-model-with-..." in picture
    assert "$0.00023" in picture


def test_live_run_points_at_the_answer_that_is_shown_below_it() -> None:
    progress = RunProgress()
    progress.apply(started(), 0.0)
    progress.apply(CallStarted(layer=1, index=0, agent="writer", model="lab/writer", fallback=False), 1.0)
    progress.apply(AnswerDelta("Hello"), 2.0)
    progress.hand_over()

    assert drawn(LiveRun(progress, lambda: 3.0)) == "model\n ▼ lab/writer  answering"


def test_live_run_shows_what_a_cancelled_run_left_behind() -> None:
    progress = _run()
    progress.cancel(12.5)

    picture = drawn(LiveRun(progress, lambda: 99.0))

    assert " ⊘ busy        cancelled    2.5 s\n" in picture
    assert " ✓ fast        done         1.2 s" in picture
    assert " ○ lab/writer  waiting" in picture


def test_progress_forgets_what_a_proposer_wrote_when_it_starts_anew() -> None:
    progress = RunProgress()
    progress.apply(started(("one",)), 0.0)
    progress.apply(LayerStarted(layer=1), 0.0)
    progress.apply(ProposalDelta(1, 0, "draft", reasoning=True), 1.0)
    row = progress.layers[0][0]
    assert (row.state, row.estimated_tokens) == ("thinking", 2)

    progress.apply(ProposalRestarted(layer=1, index=0), 1.5)
    assert (row.state, row.estimated_tokens) == ("asked", 0)


def test_progress_names_the_fallback_that_is_asked_and_counts_the_aggregators_time_from_its_first_call() -> None:
    progress = RunProgress()
    progress.apply(started(("one",)), 0.0)
    progress.apply(CallStarted(layer=1, index=0, agent="one", model="lab/spare", fallback=True), 1.0)
    progress.apply(CallStarted(layer=2, index=0, agent="writer", model="lab/writer", fallback=False), 2.0)
    progress.apply(CallStarted(layer=2, index=0, agent="writer", model="lab/spare", fallback=True), 3.0)
    progress.apply(AnswerDelta("Hello"), 4.0)

    assert progress.layers[0][0].model == "lab/spare"
    writer = progress.aggregator
    assert writer is not None
    assert (writer.model, writer.started_at, writer.state) == ("lab/spare", 2.0, "writing")


def test_finished_line_tells_figures_or_the_cause() -> None:
    fast, cut, broken = _run().layers[0][:3]

    assert finished_line(fast) == "fast: done (1.2 s, 184 tokens, $0.00023)"
    assert finished_line(cut) == "cut: cut off (1.2 s, 512 tokens, price unknown for 1 call)"
    assert finished_line(broken) == "broken: failed: slow down␛[2J please"
