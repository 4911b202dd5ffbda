import io

from rich.console import Console

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
        "   text\n"
        " ✓ cut         cut off      1.2 s    512 tok   price ?\n"
        "   text\n"
        " ✗ broken      failed      340 ms\n"
        " ⊘ late        abandoned   340 ms\n"
        " ⠴ busy        writing      2.5 s     ~2 tok\n"
        "   eight by\n"
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


def _writing(text: str) -> RunProgress:
    progress = RunProgress()
    progress.apply(started(("one", "two")), 0.0)
    progress.apply(LayerStarted(layer=1), 0.0)
    progress.apply(ProposalDelta(1, 0, text), 1.0)
    return progress


def test_live_run_shows_the_newest_lines_of_what_an_agent_writes_made_harmless() -> None:
    words = " ".join(f"word{number}" for number in range(60))

    picture = drawn(LiveRun(_writing(f"first\n\n\x1b[2J {words}"), lambda: 1.0), width=60)

    shown = [line for line in picture.splitlines() if "word" in line]
    assert len(shown) == 3
    assert shown[-1].endswith("word59")
    assert all(line.startswith("   word") and len(line) <= 60 for line in shown)
    assert "␛[2J" in drawn(LiveRun(_writing("\x1b[2J word"), lambda: 1.0))


def test_live_run_folds_a_finished_proposal_to_the_beginning_of_its_text() -> None:
    progress = _writing("a draft")
    progress.apply(ProposalFinished(proposal=used("one", 0, text="The whole\ntext, " + "and more " * 20)), 2.0)

    assert "\n   The whole text, and more and ...\n" in drawn(LiveRun(progress, lambda: 2.0), width=38)


def test_live_run_shows_less_text_where_the_terminal_is_low() -> None:
    progress = _writing("word " * 100)

    def height(lines: int) -> int:
        picture = LiveRun(progress, lambda: 1.0)
        console = Console(file=io.StringIO(), width=60, height=lines)
        return len(console.render_lines(picture, console.options))

    assert [height(lines) for lines in (24, 8, 7, 6)] == [8, 7, 6, 5]


def test_progress_shows_thoughts_until_the_text_begins() -> None:
    progress = _writing("")
    row = progress.layers[0][1]
    for text, reasoning in (("I think", True), (" twice.", True), ("The answer", False), ("a late thought", True)):
        progress.apply(ProposalDelta(1, 1, text, reasoning=reasoning), 2.0)
        if row.state == "thinking":
            thoughts = row.excerpt

    assert (thoughts, row.excerpt) == ("I think twice.", "The answer")


def test_progress_keeps_a_bounded_part_of_a_long_text() -> None:
    progress = _writing("x" * 100_000)
    progress.apply(ProposalDelta(1, 0, "the end"), 2.0)

    assert progress.layers[0][0].excerpt.endswith("xthe end")
    assert len(progress.layers[0][0].excerpt) < 5000


def test_progress_forgets_what_a_proposer_wrote_when_it_starts_anew() -> None:
    progress = RunProgress()
    progress.apply(started(("one",)), 0.0)
    progress.apply(LayerStarted(layer=1), 0.0)
    progress.apply(ProposalDelta(1, 0, "draft", reasoning=True), 1.0)
    row = progress.layers[0][0]
    assert (row.state, row.estimated_tokens) == ("thinking", 2)

    progress.apply(ProposalRestarted(layer=1, index=0), 1.5)
    assert (row.state, row.estimated_tokens, row.excerpt) == ("asked", 0, "")


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
    assert finished_line(broken, repeated=True) == "broken: failed: likewise"
