"""The options of `moa eval run` and those of `moa.evaluation.evaluate` are the same ones, with the same defaults."""

from dataclasses import fields

from moa._cli.eval_options import _DEFAULTS, JudgedRunOptions
from moa._cli.handlers.eval import _NAMES
from moa.evaluation import Options
from moa.evaluation._runner.spec import Spec


def test_every_option_of_python_is_one_of_the_command_line_and_the_other_way_round() -> None:
    given = {_NAMES.get(name, name) for name in JudgedRunOptions.__annotations__}

    assert Options.__annotations__.keys() - given == {"cached", "settings", "providers"}
    assert given - Options.__annotations__.keys() == {"mixture", "overrides", "out", "plan", "as_json"}


def test_defaults_of_the_command_line_are_those_of_python() -> None:
    defaults = {one.name: one.default for one in fields(Spec)}

    assert defaults | {"judge_checks": defaults["checks_judge"]} | _DEFAULTS == defaults | {"judge_checks": True}
