"""How far an evaluation is: what its watchers are told after every step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        answers: Answers that are there; those of earlier sessions count.
        answers_total: Answers that are wanted, as far as they have to be asked for.
        verdicts: Verdicts that are there.
        verdicts_total: Verdicts that are wanted.
        failed: Prompts on which a system has no output.
        unjudged: Verdicts among those that are there that are missing, as the judge could not be asked.
        spent_usd: US dollars that were spent as far as is known, by earlier sessions too.
        lost_usd: Of that, for calls that brought no whole reply: at most, where their service reported nothing.
        unpriced: Whether something was bought at a price that nobody knows.
        elapsed_s: Seconds since this session began.
        steps_per_s: Answers and verdicts per second in this session; None before the first.
        left_s: About how many seconds it will take at this rate; None while unknown.
    """

    answers: int
    answers_total: int
    verdicts: int
    verdicts_total: int
    failed: int
    unjudged: int
    spent_usd: float
    unpriced: bool
    elapsed_s: float
    steps_per_s: float | None
    left_s: float | None
    lost_usd: float = 0.0
