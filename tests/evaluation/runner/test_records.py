import numpy as np

from moa._usage import TokenUsage
from moa.evaluation._runner.records import AnswerColumns, Record


def test_a_later_answer_replaces_all_that_an_earlier_one_told() -> None:
    columns = AnswerColumns.empty(1)
    columns.put(0, Record(system="s", index=0, status="failed", usage=TokenUsage(input_tokens=3, output_tokens=2)))
    columns.put(0, Record(system="s", index=0, status="complete", output="fine"))

    assert columns.has_output.all()
    assert np.isnan([columns.input_tokens[0], columns.output_tokens[0]]).all()
