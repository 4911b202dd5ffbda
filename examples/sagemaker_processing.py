r"""Measure a mixture as an Amazon SageMaker Processing or AWS Batch job.

The input folder holds the prompts (`prompts.jsonl`, `.json`, `.csv` or `.parquet`) and maybe a `moa.yaml` and mixture
files; the output folder gets the run with its report. A job that finds an unfinished run there resumes it, and buys
nothing twice. The image needs `mixture-of-agents[bedrock,eval]`; the job's role needs `bedrock-policy.json`, and the
same two permissions for the models of baseline and judge.

    python sagemaker_processing.py --mixture bedrock-current \
        --baseline bedrock/us.anthropic.claude-opus-5-5 \
        --judge-model bedrock/openai.gpt-oss-120b-1:0 --budget-usd 20
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moa.errors import MoaError, UsageError
from moa.evaluation import Progress, evaluate, write_report

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
TOLD_EVERY = 50
"""Answers and verdicts between two lines of the job's log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 if the report is written, 1 if the evaluation can't be done."""
    arguments = parsed(argv)
    try:
        run(arguments)
    except MoaError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the job was asked for; folders are SageMaker's unless given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input-dir", type=Path, default=Path("/opt/ml/processing/input"))
    parser.add_argument("--output-dir", type=Path, default=Path("/opt/ml/processing/output"))
    parser.add_argument("--mixture", required=True, help="a preset, or a file in the input folder")
    parser.add_argument("--baseline", required=True, help="a model reference or a preset")
    parser.add_argument("--judge-model", required=True, help="a model of another maker than both sides")
    parser.add_argument("--budget-usd", type=float, help="US dollars for the whole run")
    parser.add_argument("--sample", type=int, help="only so many prompts, drawn by category")
    parser.add_argument("--until", choices=("all", "decided", "good-enough"), default="all")
    parser.add_argument("--concurrency", type=int, default=32)
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write the report.

    Raises:
        MoaError: It can't be done; it says what and why.
    """
    folder, config = arguments.input_dir, arguments.input_dir / "moa.yaml"
    mixture = folder / arguments.mixture
    out = arguments.output_dir / "run"
    done = evaluate(
        prompts_in(folder),
        mixture if mixture.is_file() else arguments.mixture,
        out=out,
        on_progress=tell,
        baseline=arguments.baseline,
        judge="pairwise",
        judge_model=arguments.judge_model,
        budget_usd=arguments.budget_usd,
        sample=arguments.sample,
        until=arguments.until,
        concurrency=arguments.concurrency,
        config=config if config.is_file() else None,
    )
    sys.stdout.write(f"{done.ended}\n{write_report(out).summary.conclusion.sentence}\n")


def prompts_in(folder: Path) -> Path:
    """Return the file of prompts.

    Raises:
        UsageError: There is none.
    """
    for suffix in SUFFIXES:
        if (path := folder / f"prompts{suffix}").is_file():
            return path
    raise UsageError(f"no prompts in {folder}: give prompts{', prompts'.join(SUFFIXES)}")


def tell(progress: Progress) -> None:
    """Write how far it is into the job's log, now and then."""
    done, total = progress.answers + progress.verdicts, progress.answers_total + progress.verdicts_total
    if done % TOLD_EVERY == 0 or done == total:
        left = "" if progress.left_s is None else f", about {progress.left_s / 60:.0f} min left"
        sys.stdout.write(f"{done} of {total} steps, {progress.failed} failed, ${progress.spent_usd:.2f}{left}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
