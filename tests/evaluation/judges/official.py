"""Run by a Python that has the official `alpaca_eval` with its dependencies: what it makes of our files, as JSON.

OPENAI_API_BASE=http://127.0.0.1:1234/v1 OPENAI_API_KEY=none python official.py verdicts system.json baseline.json JUDGE
python official.py parsed cases.json
python official.py figures annotations.json
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any


def verdicts(outputs: str, reference: str, *judges: str) -> dict[str, list[Any]]:
    """Return the rows of annotations of each judge, shortened to what was judged and the preference."""
    from alpaca_eval.annotators import PairwiseAnnotator

    sides = [json.loads(Path(path).read_text()) for path in (reference, outputs)]
    found = {}
    for judge in judges:
        annotator = PairwiseAnnotator(annotators_config=judge, caching_path=None)
        rows = annotator.annotate_head2head(outputs_1=sides[0], outputs_2=sides[1])
        found[judge] = [
            [row["instruction"], row["output_1"], row["output_2"], _number(row["preference"])] for row in rows
        ]
    return found


def parsed(path: str) -> list[float | None]:
    """Return the preference that each case's parser reads out of a completion; None where there is none."""
    from alpaca_eval import completion_parsers
    from alpaca_eval.annotators.base import SingleAnnotator

    annotator = object.__new__(SingleAnnotator)
    annotator.batch_size = 1
    found = []
    for parser, arguments, completion in json.loads(Path(path).read_text()):
        if "outputs_to_match" in arguments:
            arguments["outputs_to_match"] = {int(key): value for key, value in arguments["outputs_to_match"].items()}
        annotator.fn_completion_parser = lambda text, name=parser, given=arguments: getattr(completion_parsers, name)(
            text, **given
        )
        ((value,), _) = annotator._parse_completions([completion])
        found.append(_number(value))
    return found


def figures(path: str) -> dict[str, float]:
    """Return what the official code makes of a file of annotations."""
    from alpaca_eval.metrics import get_length_controlled_winrate

    found = get_length_controlled_winrate(json.loads(Path(path).read_text()), save_weights_dir=None)
    return {name: float(value) for name, value in found.items()}


def _number(value: Any) -> float | None:
    if value is None or value != value:
        return None
    return float(value) or 1.5  # 0 is its older word for a draw


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    json.dump({"verdicts": verdicts, "parsed": parsed, "figures": figures}[sys.argv[1]](*sys.argv[2:]), sys.stdout)
