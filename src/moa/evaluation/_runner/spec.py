"""What is evaluated, and how, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from platform import platform, python_version
from typing import Any

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._judges.base import Judge
from moa.evaluation._measures.base import Measure
from moa.evaluation._metrics.stopping import Until
from moa.evaluation._runner.manifest import JudgeEntry, Manifest, PromptsEntry, Protocol, Session
from moa.evaluation._runner.pricing import price_list, versions
from moa.evaluation._runner.systems import System, earlier_system
from moa.evaluation._statistics.sample_means import MARGIN
from moa.providers._base import Provider
from moa.providers._redaction import shown_address

_PACKAGES = (
    "mixture-of-agents",
    "aiohttp",
    "alpaca-eval",
    "botocore",
    "genai-prices",
    "huggingface-hub",
    "numpy",
    "polars",
    "scikit-learn",
    "scipy",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is evaluated, and how.

    Attributes:
        instructions: The prompts.
        prompts: Where the run's prompts come from.
        systems: All systems, in the order of the report.
        candidate: The one that the verdict is about.
        baseline: The one that the candidate is compared with; None if there is none.
        opponent: The one that all others are judged against; None without a judge.
        judge: None judges nothing.
        settings: Endpoints, without breakers and cache: every prompt counts, and what it takes is measured.
        providers: In place of those of the settings, by endpoint name.
        measures: Of one output; the verdict rests on the first one, or without any on the judge.
        seed: Of the order, and of everything that is asked.
        concurrency: How many answers and verdicts are under way at once.
        budget_usd: For all sessions together; None for no limit.
        until: When to stop; see `Until`.
        margin: Percentage points.
        shares_replies: Whether systems that ask the same share the reply; if not, each is asked by itself, as users
            would ask it, and what all of them take is measured.
        checks_judge: Whether the judge is tried before anything is bought.
        rejudge: Whether every pair is judged once more.
        half_price: Whether judges and measures ask by batch jobs.
        data_dir: Folder of AlpacaEval's files, if they don't come from the hub.
        data: AlpacaEval's reference data, if what is looked at needs it.
    """

    instructions: tuple[Instruction, ...]
    prompts: PromptsEntry
    systems: tuple[System, ...]
    candidate: System
    baseline: System | None
    opponent: System | None
    judge: Judge | None
    settings: Settings
    providers: Mapping[str, Provider] = field(default_factory=dict)
    measures: tuple[Measure, ...] = ()
    seed: int = 0
    concurrency: int = 32
    budget_usd: float | None = None
    until: Until = "all"
    margin: float = MARGIN
    shares_replies: bool = True
    checks_judge: bool = True
    rejudge: bool = False
    half_price: bool = False
    data_dir: Path | None = None
    data: AlpacaEvalData | None = None

    @property
    def is_judged(self) -> bool:
        """Whether anything says how good outputs are."""
        return self.judge is not None or bool(self.measures)

    @property
    def judged(self) -> tuple[System, ...]:
        """The systems whose outputs a judge compares with the opponent's."""
        if self.judge is None or self.opponent is None:
            return ()
        return tuple(system for system in self.systems if system.name != self.opponent.name)

    @property
    def rests_on(self) -> str | None:
        """The measure of one output that the answer rests on; None if it rests on the judge."""
        return self.measures[0].name if self.measures else None

    @property
    def sides(self) -> tuple[System, ...]:
        """The systems that the answer rests on: the candidate; and the baseline, unless all are judged against it."""
        if self.baseline is None or (self.rests_on is None and self.baseline is self.opponent):
            return (self.candidate,)
        return (self.candidate, self.baseline)

    @property
    def single_models(self) -> tuple[System, ...]:
        """The models alone that could do in the candidate's place."""
        others = {one.name for one in (self.candidate, self.baseline, self.opponent) if one is not None}
        return tuple(one for one in self.systems if one.is_single_model and one.name not in others)

    @property
    def asked(self) -> tuple[System, ...]:
        """The systems that are asked: all but given outputs."""
        return tuple(system for system in self.systems if system.mixture is not None)

    @property
    def mixtures(self) -> dict[str, Mixture]:
        """What is asked, by system."""
        return {system.name: system.mixture for system in self.systems if system.mixture is not None}

    @property
    def judging_models(self) -> tuple[str, ...]:
        """References of the models that measures and the judge ask."""
        return tuple(model for one in (*self.measures, self.judge) if one is not None for model in one.models)

    @property
    def models(self) -> tuple[str, ...]:
        """References of all models that may be asked, each once."""
        asked = (model for mixture in self.mixtures.values() for model in mixture.references)
        return tuple(dict.fromkeys((*asked, *self.judging_models)))

    @property
    def protocol(self) -> Protocol:
        """What must be the same when it is resumed, as a manifest has it."""
        judge = None
        if self.judge is not None and self.opponent is not None:
            judge = JudgeEntry(
                name=self.judge.name,
                models=self.judge.models,
                comparable=self.judge.comparable,
                against=self.opponent.name,
            )
        return Protocol(
            prompts=self.prompts,
            candidate=self.candidate.name,
            baseline=None if self.baseline is None else self.baseline.name,
            systems=tuple(system.entry() for system in self.systems),
            judge=judge,
            measures=tuple(measure.name for measure in self.measures),
            graders=tuple(dict.fromkeys(model for measure in self.measures for model in measure.models)),
            seed=self.seed,
            shares_replies=self.shares_replies,
        )

    def session(self) -> Session:
        """What may differ from session to session, for the manifest; looks up prices, which takes a second."""
        used = sorted({model.partition("/")[0] for model in self.models} & self.settings.endpoints.keys())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Session(
            started=now,
            concurrency=self.concurrency,
            budget_usd=self.budget_usd,
            until=self.until,
            margin=self.margin,
            data_dir=None if self.data_dir is None else str(self.data_dir.resolve()),
            python=python_version(),
            platform=platform(),
            versions=versions(_PACKAGES),
            endpoints={name: endpoint_entry(self.settings, name) for name in used},
            prices={
                "date": now[:10],
                "unit": "US dollars per million tokens",
                "models": price_list(self.settings, self.mixtures.values(), self.models),
            },
        )

    def with_earlier(self, manifest: Manifest) -> "Spec":
        """The same with the systems that a run has besides: what was filled once stays in its report."""
        names = {system.name for system in self.systems}
        earlier = (earlier_system(entry) for name, entry in manifest.systems.items() if name not in names)
        return replace(self, systems=(*self.systems, *earlier))


def endpoint_entry(settings: Settings, name: str) -> dict[str, Any]:
    """Return what a manifest says of an endpoint, no secret among it."""
    endpoint = settings.endpoints[name]
    address = endpoint.base_url or endpoint.endpoint_url
    return {"kind": endpoint.kind, "url": address and shown_address(address), "region": endpoint.region}
