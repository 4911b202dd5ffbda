"""The manifest of a run as typed records: what is evaluated, and one entry for each session."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa.evaluation._statistics.sample_means import MARGIN

FORMAT = 2
"""Of the run directory; another one can't be filled."""

_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsEntry:
    """The prompts: where they come from, how many there are, a digest, and how they were chosen."""

    source: str
    count: int
    sha256: str
    limit: int | None = None
    sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemEntry:
    """A system: all that is needed to ask it again. `outputs` is a digest of given ones."""

    name: str
    role: str
    mixture: Mapping[str, Any] | None
    price: tuple[float, float] | None = None
    outputs: str | None = None
    parent: str | None = None

    def load(self) -> Mixture | None:
        """Return the mixture; None for given outputs."""
        return None if self.mixture is None else load(self.mixture)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeEntry:
    """A judge, the models that it asks, and the system against which it judges."""

    name: str
    against: str
    models: tuple[str, ...] = ()
    comparable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is evaluated; see `Spec`. `systems` has those of earlier sessions too, `graders` the models of measures."""

    prompts: PromptsEntry
    candidate: str
    baseline: str | None
    systems: tuple[SystemEntry, ...]
    seed: int
    judge: JudgeEntry | None = None
    measures: tuple[str, ...] = ()
    graders: tuple[str, ...] = ()
    shares_replies: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What may differ from session to session; what an earlier version didn't write is None."""

    started: str | None = None
    concurrency: int | None = None
    budget_usd: float | None = None
    until: str = "all"
    margin: float = MARGIN
    data_dir: str | None = None
    python: str | None = None
    platform: str | None = None
    versions: Mapping[str, str | None] | None = None
    endpoints: Mapping[str, Any] | None = None
    prices: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run directory says of itself.

    Attributes:
        format: Of the directory.
        protocol: What the report is about.
        systems: Every system of any session, by name.
        judges: Against which system each judge of any session judged.
        measures: Names of all measures of any session.
        sessions: One for each start, the last one last.
    """

    format: int
    protocol: Protocol
    systems: Mapping[str, SystemEntry]
    judges: Mapping[str, str]
    measures: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()

    @property
    def session(self) -> Session:
        """The last one."""
        return self.sessions[-1] if self.sessions else Session()


_MANIFESTS = TypeAdapter(Manifest)


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON values."""
    found: dict[str, Any] = _MANIFESTS.dump_python(manifest, mode="json")
    return found


def parsed(values: Any) -> Manifest:
    """Return the manifest that JSON values are, of this format or of the one before.

    Raises:
        ValueError: They are none.
    """
    if not isinstance(values, dict) or not isinstance(values.get("protocol"), dict):
        raise ValueError("is no manifest of an evaluation")
    if values.get("format") == 1:
        values = {**values, "protocol": _protocol_of_format_1(values["protocol"])}
    protocol = values["protocol"]
    judge, systems = protocol.get("judge"), {one["name"]: one for one in protocol["systems"]}
    judges = {judge["name"]: judge["against"]} if judge else {}
    known = {"systems": systems, "judges": judges, "measures": protocol.get("measures", ())}
    return _MANIFESTS.validate_python({**known, **values})


def _protocol_of_format_1(protocol: Mapping[str, Any]) -> dict[str, Any]:
    third, candidate = (protocol.get("judge") or {}).get("reference"), protocol["mixture"]
    systems = [*protocol["systems"], *([third] if third else ())]
    return {
        **protocol,
        "candidate": candidate,
        "baseline": next((one["name"] for one in systems if one["role"] == "baseline"), None),
        "systems": [
            {**one, "parent": candidate if one["role"] in ("without", "shuffled") else None} for one in systems
        ],
    }


def continued(known: Manifest | None, protocol: Protocol, session: Session) -> Manifest:
    """Return the manifest of a run in which another session begins.

    Prompts, systems and measures may come and go. What was there stays in the report: a session that judges nothing
    only adds outputs, and what the former ones were about, and what that rests on, stays.
    """
    if known is None:
        known = Manifest(format=FORMAT, protocol=protocol, systems={}, judges={})
    former = known.protocol
    if protocol.judge is None and not protocol.measures:
        protocol = replace(
            protocol,
            candidate=former.candidate,
            baseline=former.baseline,
            judge=former.judge,
            measures=former.measures,
            graders=former.graders,
        )
    judges = {one.name: one.against for one in (former.judge, protocol.judge) if one is not None}
    return Manifest(
        format=FORMAT,
        protocol=protocol,
        systems={**known.systems, **{one.name: one for one in protocol.systems}},
        judges={**known.judges, **judges},
        measures=tuple(dict.fromkeys((*protocol.measures, *known.measures))),
        sessions=(*known.sessions, session),
    )


def changes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Return what another session would change although there are answers by it: the seed, or a known system."""
    before, after = (
        {
            "seed": one.protocol.seed,
            "shares_replies": one.protocol.shares_replies,
            "systems": {name: entry for name, entry in as_json(one)["systems"].items() if name in old.systems},
        }
        for one in (old, new)
    )
    return tuple(_differences(before, after))


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Give what differs between two JSON values, each as `place was this, is that`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            name = one.get("name") if isinstance(one, dict) else None
            yield from _differences(one, other, f"{place}[{name or number}]")
    elif old != new:
        yield f"{place} was {_shown(old)}, is {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "empty"
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
