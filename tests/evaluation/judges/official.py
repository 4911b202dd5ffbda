"""Run by a Python that has the official `alpaca_eval` with its dependencies: its verdicts, as JSON on standard output.

OPENAI_API_BASE=http://127.0.0.1:1234/v1 OPENAI_API_KEY=none python official.py baseline.json system.json
"""

import json
import sys
from pathlib import Path


def main(reference: str, outputs: str) -> None:
    from alpaca_eval.annotators import PairwiseAnnotator

    annotator = PairwiseAnnotator(annotators_config="weighted_alpaca_eval_gpt4_turbo", caching_path=None)
    annotated = annotator.annotate_head2head(
        outputs_1=json.loads(Path(reference).read_text()), outputs_2=json.loads(Path(outputs).read_text())
    )
    verdicts = {
        row["instruction"]: None if row["preference"] != row["preference"] else row["preference"] for row in annotated
    }
    json.dump(verdicts, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
