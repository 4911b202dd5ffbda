"""Values as pieces of HTML for notebooks: own style, no script; text of models and services is never markup."""

from markupsafe import Markup

from moa._mixture.schema import Mixture
from moa._render.format import count
from moa._render.html import filled
from moa._render.mixtures import parameters, summary
from moa._render.proposals import proposal_state
from moa._render.symbols import UNICODE
from moa._render.totals import degraded_lines, totals_line
from moa._render.waterfall import waterfall_html
from moa._results import Answer


def mixture_html(mixture: Mixture) -> str:
    """Return a mixture as a picture of its layers, from the prompt to the answer."""
    return filled(
        "notebook_mixture.html",
        mixture=mixture,
        shape=summary(mixture),
        parameters=lambda agent: " · ".join(parameters(agent)),
        count=count,
    )


def answer_html(answer: Answer) -> str:
    """Return an answer with its totals, the proposals and the waterfall folded below it."""
    return filled(
        "notebook_answer.html",
        answer=answer,
        reasons=degraded_lines(answer.degraded),
        totals=totals_line(answer, UNICODE),
        state=proposal_state,
        # Escaped where it was made.
        waterfall=Markup(waterfall_html(answer)),
    )
