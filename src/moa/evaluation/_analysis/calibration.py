"""How one judge's figures read on another's scale: pairs that the other has judged are judged again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import DRAW, Annotation, read_annotations
from moa.evaluation._data.outputs import write_json
from moa.evaluation._data.reference_data import AlpacaEvalData, words_of
from moa.evaluation._judges.alpaca_eval import OFFICIAL
from moa.evaluation._judges.base import Pair
from moa.evaluation._metrics.metrics import Metrics, metrics
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._statistics.agreement import cohen_kappa, rank_correlation
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.transfer import NoLine, Reading, Transfer, transfer

_Format = Literal["moa.judge-calibration/1"]
FILE = "calibration.json"

Scale = Literal["raw", "controlled"]
"""Which figure: the win rate, or the one at equal length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One system's figures by both judges; percent 0-100, errors in points.

    Attributes:
        name: The system.
        official: Win rate by the judge whose scale is wanted, on all `of` pairs; `official_controlled` at equal length.
        figure: Win rate by the judge that is calibrated, on `n` of them; `figure_controlled` at equal length.
        error: Standard error of `figure` for all `of` pairs; `error_controlled` likewise.
        n: Pairs that both judges decided.
        of: Pairs of the official figure.
    """

    name: str
    official: float
    official_controlled: float | None
    figure: float
    figure_controlled: float | None
    error: float
    error_controlled: float | None
    n: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What judging again has shown.

    Attributes:
        judge: Name of the judge that is calibrated.
        annotator: Name of the judge whose scale is wanted.
        rated: The systems.
        pairs: Verdicts that both gave.
        same_side: Share of them, 0-1, on which both took the same side.
        kappa: The same beyond chance, ties as a label of their own; None where chance explains all.
        length_model: Of the figures at equal length.
        opponent: A digest of each instruction with the output that all systems were judged against.
        format: Of the file.
    """

    judge: str
    annotator: str
    rated: tuple[Rated, ...]
    pairs: int
    same_side: float
    kappa: float | None
    length_model: str
    opponent: tuple[str, ...]
    format: _Format = "moa.judge-calibration/1"

    def line(self, scale: Scale) -> Transfer | NoLine:
        """Return the line from the judge's figures to the official ones, or why there is none."""
        if scale == "controlled" and self.line("raw") is NoLine.ALIKE:
            return NoLine.ALIKE  # verdicts that are all equal say nothing at equal length either
        return transfer(*self._columns(scale))

    def ranks(self, scale: Scale) -> float | None:
        """Return Spearman's correlation of both judges' figures over the systems, None for fewer than three."""
        theirs, _, official = self._columns(scale)
        return rank_correlation(theirs, official)

    def _columns(self, scale: Scale) -> Floats:
        """The systems' figures by this judge, their errors, and the official figures; shape (3, systems)."""
        known = [one for one in (_figures(each, scale) for each in self.rated) if one is not None]
        return np.array(known, dtype=np.float64).reshape(-1, 3).T


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOfficialScale:
    """A system's figure, and what it reads as.

    Attributes:
        system: Its name.
        scale: Which figure.
        figure: By the run's own judge, percent 0-100.
        reading: On the official scale.
    """

    system: str
    scale: Scale
    figure: float
    reading: Reading

    @property
    def sentence(self) -> str:
        """What it says."""
        what = "win rate" if self.scale == "raw" else "win rate at equal length"
        found, ends = self.reading.value, self.reading.interval
        far = "" if self.reading.inside else ", beyond all systems that were calibrated: take it with caution"
        return (
            f"{self.system}: {what} {self.figure:.1f} % by this judge reads as {found:.1f} % on the official scale "
            f"({100 * ends.level:g}% interval {ends:.1f}{far})."
        )


def official_annotations(paths: Sequence[Path], most: int | None = None) -> dict[str, list[Annotation]]:
    """Return verdicts by the system that they are about.

    Args:
        paths: Files of annotations, or folders of AlpacaEval's results: of these, the files `annotations.json` of the
            leaderboard's judge are taken wherever they are.
        most: At most of so many systems, spread evenly over their win rates; None returns all.

    Raises:
        EvaluationDataError: A file can't be read, a folder has none, or verdicts are of several judges or against
            several outputs for one instruction.
    """
    files = [file for path in paths for file in _files_in(path)]
    means: dict[str, float] = {}
    for file in files:  # a results folder has gigabytes: what is not wanted is not kept
        for name, rows in _by_system(file).items():
            means[name] = float(np.nanmean([_preference(row) for row in rows]))
    wanted = set(_spread(means, len(means) if most is None else most))
    found: dict[str, list[Annotation]] = {}
    for file in files:
        for name, rows in _by_system(file).items():
            if name in wanted:
                found.setdefault(name, []).extend(rows)
    everything = [row for rows in found.values() for row in rows]
    for field in ("annotator", "generator_1"):
        if len(names := sorted({str(getattr(row, field)) for row in everything})) > 1:
            raise EvaluationDataError(f"verdicts of one {field} are needed, not of {', '.join(names)}", path=paths[0])
    against: dict[str, str] = {}
    for row in everything:
        if against.setdefault(words_of(row.instruction), row.output_1) != row.output_1:
            raise EvaluationDataError(
                f"two outputs of {row.generator_1} are judged against for one instruction", path=paths[0]
            )
    return found


def _files_in(path: Path) -> list[Path]:
    files = sorted(path.rglob(f"{OFFICIAL}/annotations.json*")) if path.is_dir() else [path]
    if not files:
        raise EvaluationDataError(f"has no {OFFICIAL}/annotations.json in any folder", path=path)
    return files


def _by_system(file: Path) -> dict[str, list[Annotation]]:
    """The verdicts of a file, but for those on the baseline itself and those that are missing throughout."""
    found: dict[str, list[Annotation]] = {}
    for row in read_annotations(file):
        if row.generator_2 != row.generator_1:
            found.setdefault(row.generator_2, []).append(row)
    return {name: rows for name, rows in found.items() if not all(np.isnan(_preference(row)) for row in rows)}


def _spread(means: Mapping[str, float], most: int) -> tuple[str, ...]:
    """At most so many systems, spread evenly over their win rates."""
    ranked = sorted(means, key=lambda name: (means[name], name))
    if len(ranked) <= most:
        return tuple(ranked)
    return tuple(ranked[round(place)] for place in np.linspace(0, len(ranked) - 1, most))


def sample(official: Mapping[str, Sequence[Annotation]], *, pairs: int, seed: int) -> list[Pair]:
    """Return pairs to judge again, drawn for each system on its own.

    Were they on the same prompts for all, what is hard about those would look like a difference of the judges.

    Args:
        official: Verdicts by system.
        pairs: How many of each at most.
        seed: Of the draws; a greater number of pairs with the same seed holds those of a smaller.
    """
    drawn: list[Annotation] = []
    for name in sorted(official):
        usable = sorted(
            (row for row in official[name] if not np.isnan(_preference(row))), key=lambda row: row.instruction
        )
        Random(f"{seed}:{name}").shuffle(usable)
        drawn += usable[:pairs]
    return [
        Pair(
            instruction=row.instruction,
            output_1=row.output_1,
            output_2=row.output_2,
            generator_1=row.generator_1,
            generator_2=row.generator_2,
            index=index,
            dataset=row.dataset,
        )
        for index, row in enumerate(drawn)
    ]


def calibrate(
    official: Mapping[str, Sequence[Annotation]],
    again: Sequence[Annotation],
    data: AlpacaEvalData | None = None,
) -> Calibration:
    """Return what judging a sample again shows.

    Args:
        official: All verdicts of the judge whose scale is wanted, by system.
        again: The other judge's verdicts on some of the same pairs.
        data: AlpacaEval's reference data, or None for other prompts.

    Raises:
        EvaluationDataError: No pair has a verdict of both, or annotations don't belong together.
    """
    known = {_pair(row): row for rows in official.values() for row in rows}
    both = [(known[_pair(row)], row) for row in again if _pair(row) in known and not np.isnan(_preference(row))]
    both = [(theirs, mine) for theirs, mine in both if not np.isnan(_preference(theirs))]
    if not both:
        raise EvaluationDataError("no pair has a verdict of both judges")
    sides = [(_side(theirs), _side(mine)) for theirs, mine in both]
    rated, models = [], set[str]()
    for name, rows in official.items():
        mine = [row for _, row in both if row.generator_2 == name]
        if len(mine) < 2:
            continue
        theirs, found = metrics(verdicts_of(rows), data), metrics(verdicts_of(mine), data)
        models.add(found.lc_model)
        rated.append(_rated(name, theirs, found))
    first = next(iter(official.values()))[0]
    return Calibration(
        judge=str(both[0][1].annotator),
        annotator=str(first.annotator),
        rated=tuple(rated),
        pairs=len(both),
        same_side=sum(theirs == mine for theirs, mine in sides) / len(sides),
        kappa=cohen_kappa(*zip(*sides, strict=True)),
        length_model=", ".join(sorted(models)),
        opponent=tuple(
            sorted({opponent_digest(row.instruction, row.output_1) for rows in official.values() for row in rows})
        ),
    )


def on_official_scale(
    calibration: Calibration, system: str, judge: str | None, pairs: Sequence[str], found: Metrics
) -> tuple[OnOfficialScale, ...]:
    """Return what a system's figures read as on the official scale; nothing where they can't be read.

    Args:
        calibration: What judging again has shown.
        system: The system's name.
        judge: Who judged it: only the judge that was calibrated can be read.
        pairs: Digests of what it was judged against: only the outputs that the calibration is about.
        found: Its figures.
    """
    if why_unreadable(calibration, judge, pairs) is not None:
        return ()
    own = _shrunk(found, of=len(calibration.opponent))
    wanted: list[tuple[Scale, float | None, float | None]] = [
        ("raw", found.counts.win_rate, own[0]),
        ("controlled", found.length_controlled_win_rate, own[1]),
    ]
    if found.lc_model != calibration.length_model:
        wanted.pop()
    return tuple(
        OnOfficialScale(system=system, scale=scale, figure=figure, reading=line.read(figure, error))
        for scale, figure, error in wanted
        if figure is not None and error is not None and isinstance(line := calibration.line(scale), Transfer)
    )


def why_unreadable(calibration: Calibration, judge: str | None, pairs: Sequence[str]) -> str | None:
    """Return why verdicts can't be read on the official scale, or None where they can; as `on_official_scale`."""
    if judge != calibration.judge:
        return f"it is about the judge {calibration.judge}, and {judge or 'no judge'} gave these verdicts"
    known = set(calibration.opponent)
    others = sum(pair not in known for pair in pairs)
    if others:
        return (
            f"{others:,} of {len(pairs):,} verdicts are on other prompts, or against other outputs, than those that "
            f"{calibration.annotator} judged"
        )
    line = calibration.line("raw")
    return str(line) if isinstance(line, NoLine) else None


def opponent_digest(instruction: str, output: str) -> str:
    """Return what tells an instruction with the output that all systems were judged against."""
    return sha256(f"{words_of(instruction)}\0{output}".encode(errors="surrogatepass")).hexdigest()[:16]


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON.

    Raises:
        EvaluationDataError: It can't be written.
    """
    write_json(path, asdict(calibration))


def read_calibration(path: Path) -> Calibration:
    """Return the calibration of a file, or of the folder that `moa eval calibrate` wrote.

    Raises:
        EvaluationDataError: It can't be read, or is none.
    """
    file = path / FILE if path.is_dir() else path
    try:
        return _CALIBRATION.validate_python(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise EvaluationDataError(f"can't be read: {os_reason(error)}", path=file) from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise EvaluationDataError("is no calibration that `moa eval calibrate` wrote", path=file) from error


_CALIBRATION = TypeAdapter(Calibration)


def _rated(name: str, theirs: Metrics, found: Metrics) -> Rated:
    of = theirs.counts.n_total
    error, controlled = _shrunk(found, of=of)
    return Rated(
        name=name,
        official=float(theirs.counts.win_rate or 0.0),
        official_controlled=theirs.length_controlled_win_rate,
        figure=float(found.counts.win_rate or 0.0),
        figure_controlled=found.length_controlled_win_rate,
        error=error if error is not None else 0.0,
        error_controlled=controlled,
        n=found.counts.n_total,
        of=of,
    )


def _shrunk(found: Metrics, *, of: int) -> tuple[float | None, float | None]:
    """The errors of both figures for exactly `of` pairs, of which some were judged: none is left where all were."""
    left = max(1.0 - found.counts.n_total / of, 0.0) ** 0.5
    errors = (found.counts.standard_error, found.lc_standard_error)
    return (None if errors[0] is None else left * errors[0], None if errors[1] is None else left * errors[1])


def _figures(one: Rated, scale: Scale) -> tuple[float, float, float] | None:
    if scale == "raw":
        return one.figure, one.error, one.official
    if one.figure_controlled is None or one.error_controlled is None or one.official_controlled is None:
        return None
    return one.figure_controlled, one.error_controlled, one.official_controlled


def _preference(row: Annotation) -> float:
    return float("nan") if row.preference is None else row.preference or DRAW


def _side(row: Annotation) -> int:
    preference = _preference(row)
    return (preference > DRAW) - (preference < DRAW)


def _pair(row: Annotation) -> tuple[str, str, str]:
    return row.instruction, row.output_1, row.output_2


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """Return figures and lines as JSON values, for `--json`."""
    found: dict[str, Any] = {
        "judge": calibration.judge,
        "official": calibration.annotator,
        "pairs": calibration.pairs,
        "same_side": calibration.same_side,
        "kappa": calibration.kappa,
        "systems": [asdict(one) for one in calibration.rated],
    }
    scales: tuple[Scale, ...] = ("raw", "controlled")
    for scale in scales:
        line = calibration.line(scale)
        found[scale] = {"spearman": calibration.ranks(scale), "slope": None, "slope_interval": None}
        if isinstance(line, NoLine):
            found[scale]["no_line"] = str(line)
        else:
            found[scale] |= {"slope": line.slope, "slope_interval": line.slope_interval().ends}
    return found
