"""A loaded machine must not fail a test."""

from hypothesis import settings


def test_examples_of_properties_may_take_as_long_as_they_need() -> None:
    assert settings().deadline is None
