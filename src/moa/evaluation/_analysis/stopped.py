"""What came of stopping as soon as it was settled."""

from dataclasses import dataclass
from typing import Any

from moa.evaluation._metrics.stopping import Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What came of stopping as soon as it was settled.

    Attributes:
        settlement: What was settled.
        judged: Prompts on which there is a verdict on the mixture, also those that came after.
        planned: Prompts in all.
    """

    settlement: Settlement
    judged: int
    planned: int

    @property
    def saved(self) -> int:
        """Prompts that did not have to be judged."""
        return max(0, self.planned - self.judged)

    @property
    def sentence(self) -> str:
        """What it saved."""
        found = self.settlement
        if not found.decided:
            return f"Not {_KNOWN[found.until]} by {len(found.prompts):,} of {self.planned:,} prompts."
        share = f" ({100 * self.saved / self.planned:.0f}%)" if self.saved else ""
        return (
            f"{_KNOWN[found.until].capitalize()} after {len(found.prompts):,} of {self.planned:,} prompts: "
            f"{self.saved:,} prompts{share} were left unjudged."
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        saved = {"prompts": self.saved, "share": self.saved / self.planned if self.planned else 0.0}
        as_values = {"until": self.settlement.until, "decided": self.settlement.decided}
        return {**as_values, "rests_on": len(self.settlement.prompts), "of": self.planned, "saved": saved}


_KNOWN = {"decided": "decided", "good-enough": "known to be good enough or not", "all": "decided"}
