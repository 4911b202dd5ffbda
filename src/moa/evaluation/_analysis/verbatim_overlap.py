"""How much of an answer came from which proposal, word for word."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

GRAM = 5
"""Words in a row that count as copied: shorter runs are shared by chance between answers to one question."""

MOST_STARTS = 16
"""Places of a proposal at which one run of words is looked for: a text that repeats itself, as models that loop write
it, has the same words at thousands, and would take a time in the square of its length."""

SAME_SHARE = 0.5
"""Share of the words of either of two answers that has to be copied from the other for them to be called the same.

Source: our choice; a new wording of the same content shares few runs of `GRAM` words, a touched-up copy most.
"""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """How much of an answer is in one proposal.

    Attributes:
        share: Of the answer's words, 0-1, that lie in runs of at least `GRAM` words which the proposal has too.
        only_here: Of the answer's words, 0-1, that lie in such runs of this proposal and of no other.
        longest_run: Words of the longest such run.
    """

    share: float
    only_here: float
    longest_run: int


def copied(answer: str, proposals: Mapping[str, str]) -> dict[str, Copied]:
    """Return how much of an answer is in each proposal.

    Args:
        answer: The answer's text; letter case and punctuation don't matter.
        proposals: Text by agent.

    Returns:
        For each agent; nothing where the answer has fewer than `GRAM` words.
    """
    words = _words(answer)
    if len(words) < GRAM:
        return {}
    runs = {agent: _runs(words, _words(text)) for agent, text in proposals.items()}
    covered = {
        agent: {at for start, length in found for at in range(start, start + length)} for agent, found in runs.items()
    }
    result = {}
    for agent, mine in covered.items():
        others = set[int]().union(*(places for other, places in covered.items() if other != agent))
        result[agent] = Copied(
            share=len(mine) / len(words),
            only_here=len(mine - others) / len(words),
            longest_run=max((length for _, length in runs[agent]), default=0),
        )
    return result


def mean_copied(answers: Sequence[Mapping[str, Copied]]) -> dict[str, Copied]:
    """Return the mean share of each agent over many answers, and its longest run in any.

    Args:
        answers: What `copied` gave for each; an agent counts where it has a proposal.
    """
    by_agent: defaultdict[str, list[Copied]] = defaultdict(list)
    for answer in answers:
        for agent, found in answer.items():
            by_agent[agent].append(found)
    return {
        agent: Copied(
            share=fmean(one.share for one in found),
            only_here=fmean(one.only_here for one in found),
            longest_run=max(one.longest_run for one in found),
        )
        for agent, found in by_agent.items()
    }


def differs(one: str, other: str) -> bool:
    """Return whether two answers differ materially: less than `SAME_SHARE` of either's words is in the other.

    Args:
        one: A text; letter case and punctuation don't matter.
        other: Another. Where one has fewer than `GRAM` words, any other words make a difference.
    """
    if min(len(_words(one)), len(_words(other))) < GRAM:
        return _words(one) != _words(other)
    shares = (copied(text, {"": source})[""].share for text, source in ((one, other), (other, one)))
    return min(shares) < SAME_SHARE


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _runs(words: Sequence[str], source: Sequence[str]) -> list[tuple[int, int]]:
    """Return start and length of the runs of at least GRAM words that the source has too, the longest at each start."""
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for start, gram in enumerate(_grams(source)):
        places[gram].append(start)
    grams, runs, at = _grams(words), [], 0
    while at < len(grams):
        starts = places.get(grams[at])
        if starts is None:
            at += 1
            continue
        length = max(_common(words, at, source, start) for start in starts[:MOST_STARTS])
        runs.append((at, length))
        # The next run may begin before this one's end, in another place of the source.
        at += length - GRAM + 1
    return runs


def _grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Every `GRAM` words in a row."""
    return list(zip(*(words[shift:] for shift in range(GRAM)), strict=False))


def _common(words: Sequence[str], at: int, source: Sequence[str], start: int) -> int:
    length = GRAM
    while at + length < len(words) and start + length < len(source) and words[at + length] == source[start + length]:
        length += 1
    return length
