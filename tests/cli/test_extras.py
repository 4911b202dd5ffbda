import pytest

from moa.cli.extras import needs_extra
from moa.errors import MissingDependency


def test_a_missing_package_of_others_becomes_the_command_that_installs_it() -> None:
    words = r'moa eval needs .* pip install "mixture-of-agents\[eval\]"'
    with pytest.raises(MissingDependency, match=words), needs_extra("moa eval", "eval"):
        import no_such_package.inside  # noqa: F401


def test_a_missing_module_of_our_own_is_a_bug_and_stays_one() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs_extra("moa eval", "eval"):
        import moa.no_such_module  # noqa: F401
