"""Values as pieces of HTML for notebooks: own style, no script; text of models and services is never markup."""

from markupsafe import Markup

from moa.mixture.schema import Mixture
from moa.proposals import Answer
from moa.render.answers import proposal_state
from moa.render.figures import count
from moa.render.html import filled
from moa.render.mixtures import parameters, summary
from moa.render.symbols import UNICODE
from moa.render.totals import degraded_lines, totals_line
from moa.render.waterfall import waterfall_html


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
