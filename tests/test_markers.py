"""What a marker asks for, and what is said where it asks for nothing that can be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._markers import ALL, DOCS, Expectation, MarkerError, expectations

if TYPE_CHECKING:
    from collections.abc import Callable


def mark(name: str, *args: object, **kwargs: object) -> pytest.Mark:
    # Not by `pytest.mark`: the outer run need not know these markers.
    return pytest.Mark(name, args, kwargs, _ispytest=True)


must_overlap = partial(mark, "must_overlap")
must_not_overlap = partial(mark, "must_not_overlap")


def only(given: pytest.Mark) -> Expectation:
    (found,) = expectations([given])
    return found


def test_must_overlap_has_defaults() -> None:
    assert only(must_overlap("shop:fetch")) == Expectation("must_overlap", ("shop:fetch",), 2, None, 1.0)


def test_must_overlap_may_be_without_targets() -> None:
    assert only(must_overlap()) == Expectation("must_overlap", ())


def test_must_overlap_takes_numbers() -> None:
    assert only(must_overlap("shop:fetch", at_least=3, at_most=4, patience=0)) == Expectation(
        "must_overlap", ("shop:fetch",), 3, 4, 0.0
    )


def test_must_not_overlap_has_defaults() -> None:
    assert only(must_not_overlap("shop:fetch", "shop:store")) == Expectation(
        "must_not_overlap", ("shop:fetch", "shop:store")
    )


def test_a_function_may_be_the_target() -> None:
    assert only(must_overlap(only)).targets == (only,)


def test_other_peoples_markers_are_passed_over() -> None:
    marks = [mark("asyncio"), must_overlap("a:b"), pytest.mark.skip.mark, must_not_overlap("a:c")]

    assert [found.marker for found in expectations(marks)] == ["must_overlap", "must_not_overlap"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            must_overlap("a:b", at_least=1),
            "@pytest.mark.must_overlap('a:b', at_least=1): at_least=1: expected at least 2, which is what any"
            " overlap needs",
        ),
        (
            must_overlap("a:b", at_least="2"),
            "@pytest.mark.must_overlap('a:b', at_least='2'): at_least='2': expected a whole number",
        ),
        (
            must_overlap("a:b", at_least=2.0),
            "@pytest.mark.must_overlap('a:b', at_least=2.0): at_least=2.0: expected a whole number",
        ),
        (
            must_overlap("a:b", at_least=True),
            "@pytest.mark.must_overlap('a:b', at_least=True): at_least=True: expected a whole number",
        ),
        (
            must_overlap("a:b", at_most=1),
            "@pytest.mark.must_overlap('a:b', at_most=1): at_most=1: expected at least 2, which is what any"
            " overlap needs",
        ),
        (
            must_overlap("a:b", at_least=3, at_most=2),
            "@pytest.mark.must_overlap('a:b', at_least=3, at_most=2): at_most=2 is below at_least=3",
        ),
        (
            must_overlap("a:b", "a:c", at_most=2),
            "@pytest.mark.must_overlap('a:b', 'a:c', at_most=2): at_most goes with one target only",
        ),
        (
            must_overlap("a:b", patience=-1),
            "@pytest.mark.must_overlap('a:b', patience=-1): patience=-1: expected seconds, such as 1.0, or 0 for no"
            " holding",
        ),
        (
            must_overlap("a:b", patience=float("inf")),
            "@pytest.mark.must_overlap('a:b', patience=inf): patience=inf: expected seconds, such as 1.0, or 0 for no"
            " holding",
        ),
        (
            must_not_overlap("a:b", patience="1s"),
            "@pytest.mark.must_not_overlap('a:b', patience='1s'): patience='1s': expected seconds, such as 1.0, or 0"
            " for no holding",
        ),
        (
            must_overlap("a:b", atleast=3),
            "@pytest.mark.must_overlap('a:b', atleast=3): got an unexpected keyword argument 'atleast'",
        ),
        (
            must_not_overlap("a:b", at_least=3),
            "@pytest.mark.must_not_overlap('a:b', at_least=3): got an unexpected keyword argument 'at_least'",
        ),
        (
            must_not_overlap(),
            "@pytest.mark.must_not_overlap(): name the function whose calls must not overlap, such as"
            " 'package.module:Class.method'",
        ),
    ],
    ids=lambda value: f"{value.name}-{value.kwargs}" if isinstance(value, pytest.Mark) else "",
)
def test_wrong_arguments_are_said(given: pytest.Mark, text: str) -> None:
    with pytest.raises(MarkerError) as caught:
        only(given)

    assert str(caught.value) == text


def test_every_marker_is_documented() -> None:
    assert {line.partition("(")[0] for line in DOCS} == ALL


def test_wrong_arguments_fail_that_test_alone(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.must_overlap(at_least=1)
        def test_wrong():
            raise AssertionError("must not run")

        def test_right():
            pass
        """
    )

    result = inner("--strict-markers")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["@pytest.mark.must_overlap(at_least=1): at_least=1: expected at least 2, which is what any overlap needs"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*must not run*")


def test_markers_are_listed_for_users(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    result = inner("--markers")

    result.stdout.fnmatch_lines([f"@pytest.mark.{line}" for line in DOCS])


def test_a_marker_on_the_class_holds_for_every_test_in_it(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import asyncio
        import pytest

        async def fetch(): ...

        @pytest.mark.must_overlap("test_it:fetch")
        class TestShop:
            def test_together(self):
                async def main():
                    await asyncio.gather(fetch(), fetch())
                asyncio.run(main())

            def test_alone(self):
                asyncio.run(fetch())
        """
    )

    result = inner()

    result.assert_outcomes(passed=1, failed=1)
