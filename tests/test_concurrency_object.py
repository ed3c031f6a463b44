"""The object behind the fixture `concurrency` and behind `record()`."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_concurrency
from pytest_concurrency import OverlapError, record

if TYPE_CHECKING:
    from collections.abc import Callable


async def fetch(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def store(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def together() -> None:
    await asyncio.gather(fetch(1), fetch(2), fetch(3))


async def in_turn() -> None:
    for number in range(3):
        await fetch(number)


def test_the_peak_is_the_most_at_one_instant() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        assert concurrency.peak(fetch) == 0
        asyncio.run(together())
    assert concurrency.peak(fetch) == concurrency.peak() == 3


def test_the_peak_of_calls_in_turn_is_one() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(in_turn())
    assert concurrency.peak(fetch) == 1


def test_nothing_is_held_without_a_marker() -> None:
    async def at_once() -> None:
        pass

    async def main() -> None:
        await asyncio.gather(at_once(), at_once())

    with record() as concurrency:
        concurrency.watch(at_once)
        asyncio.run(main())
    assert concurrency.peak(at_once) == 1


def test_spans_tell_what_was_recorded() -> None:
    with record() as concurrency:
        concurrency.watch(fetch, name="a fetch")
        asyncio.run(together())
    spans = concurrency.spans("a fetch")

    assert [span.name for span in spans] == ["a fetch"] * 3
    assert [span.outcome for span in spans] == ["returned"] * 3
    assert len({span.strand for span in spans}) == 3
    for span in spans:
        assert span.end is not None
        assert 0 <= span.start <= span.end
        assert span.blocked == 0
        assert span.running + span.waiting == pytest.approx(span.end - span.start)


def test_spans_are_found_by_function_and_by_every_name() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        concurrency.watch(store, name="a store")
        asyncio.run(together())
        asyncio.run(store(1))
    name = f"{__name__}:fetch"

    assert concurrency.spans(fetch) == concurrency.spans(name)
    assert len(concurrency.spans(fetch)) == 3
    assert concurrency.spans(store) == concurrency.spans("a store")
    assert len(concurrency.spans("a store")) == 1
    assert len(concurrency.spans()) == 4


def test_a_function_that_is_watched_twice_is_recorded_once() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        concurrency.watch(f"{__name__}:fetch")
        asyncio.run(together())
    assert len(concurrency.spans()) == 3


def test_watching_may_begin_in_the_middle() -> None:
    async def main() -> None:
        await fetch(0)
        concurrency.watch(fetch)
        await together()

    with record() as concurrency:
        asyncio.run(main())
    assert len(concurrency.spans(fetch)) == 3


def test_watching_ends_with_the_recording() -> None:
    code = fetch.__code__
    with record() as concurrency:
        concurrency.watch(fetch)
    asyncio.run(together())
    assert fetch.__code__ is code
    assert concurrency.spans() == ()


def test_a_target_that_cannot_be_watched_is_an_error() -> None:
    with record() as concurrency, pytest.raises(ValueError, match="there is no module 'no_such_module'"):
        concurrency.watch("no_such_module.fetch")


def test_blocks_of_code_are_spans_too() -> None:
    async def worker() -> None:
        with concurrency.span("work"):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(worker(), worker())

    with record() as concurrency:
        asyncio.run(main())
        with concurrency.span("after"):
            pass
    assert concurrency.peak("work") == 2
    assert [span.outcome for span in concurrency.spans("after")] == ["returned"]


def test_a_span_lets_an_exception_pass() -> None:
    with record() as concurrency, pytest.raises(LookupError), concurrency.span("work"):
        raise LookupError
    assert [span.outcome for span in concurrency.spans("work")] == ["raised"]


def test_a_span_lets_a_cancellation_pass() -> None:
    async def worker() -> None:
        with concurrency.span("work"):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with record() as concurrency:
        asyncio.run(main())
    assert [span.outcome for span in concurrency.spans("work")] == ["cancelled"]


def test_spans_in_threads_are_on_strands_of_their_own() -> None:
    barrier = threading.Barrier(2)

    def work() -> None:
        with concurrency.span("work"):
            barrier.wait()

    with record() as concurrency:
        threads = [threading.Thread(target=work, name=f"worker {number}") for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert concurrency.peak("work") == 2
    assert {span.strand for span in concurrency.spans("work")} == {"worker 0", "worker 1"}


def test_overlap_is_in_seconds() -> None:
    async def main() -> None:
        await asyncio.gather(fetch(1), store(2))
        await store(3)

    with record() as concurrency:
        concurrency.watch(fetch)
        concurrency.watch(store)
        asyncio.run(main())
        (a,), (b, c) = concurrency.spans(fetch), concurrency.spans(store)
        assert a.end is not None
        assert b.end is not None
        assert concurrency.overlap(fetch, store) == pytest.approx(min(a.end, b.end) - max(a.start, b.start))
        assert c.start >= a.end


def test_an_instant_counts_once_however_many_were_in() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(together())
    first, second, third = concurrency.spans(fetch)
    assert first.end is not None
    assert second.end is not None

    assert second.start < third.start < first.end < second.end
    assert concurrency.overlap(fetch, fetch) == pytest.approx(second.end - second.start)


def test_what_overlapped_passes() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(together())
        concurrency.assert_overlap(fetch, at_least=3)
        concurrency.assert_overlap(f"{__name__}:fetch")


def test_what_did_not_overlap_fails_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(in_turn())
        with pytest.raises(OverlapError) as caught:
            concurrency.assert_overlap(fetch)
    text = str(caught.value)
    line = in_turn.__code__.co_firstlineno + 2

    assert text.startswith(f"expected 2 calls of {__name__}:fetch at once, saw at most 1\n")
    # The folder decides where lines are broken.
    assert f"Awaited one after the other: test_concurrency_object.py:{line} in in_turn waits" in " ".join(text.split())


def test_what_must_not_overlap_and_does_fails() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(together())
        with pytest.raises(OverlapError, match=f"^expected calls of {__name__}:fetch one at a time, saw 2 in progress"):
            concurrency.assert_no_overlap(fetch)


def test_what_must_not_overlap_and_does_not_passes() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(in_turn())
        concurrency.assert_no_overlap(fetch)


def test_asking_about_what_is_not_watched_is_an_error() -> None:
    with record() as concurrency:
        concurrency.watch(fetch, name="a fetch")
        with pytest.raises(ValueError, match=r"^'shop' is not watched: call concurrency\.watch\('shop'\) first \("):
            concurrency.spans("shop")
        with pytest.raises(ValueError, match="is not watched"):
            concurrency.assert_overlap("shop")
        with pytest.raises(ValueError, match="is not watched"):
            concurrency.overlap("a fetch", store)


def test_the_timeline_draws_every_span() -> None:
    with record() as concurrency:
        assert concurrency.timeline() == ""
        concurrency.watch(fetch)
        asyncio.run(together())
    lines = concurrency.timeline().splitlines()

    assert [line.split()[0] for line in lines[:3]] == ["fetch#1", "fetch#2", "fetch#3"]
    assert "running" in lines[3]


def test_advice_names_the_way_that_fits_and_what_kept_calls_apart() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        asyncio.run(in_turn())
    advice = " ".join(concurrency.advice().split())

    assert advice.startswith(
        f"{__name__}:fetch: a pool of threads fits. 3 calls in 1 task, never two at once, computed "
    )
    assert " Awaited one after the other: " in advice
    assert advice.endswith("asyncio.gather() or an asyncio.TaskGroup.")


def test_advice_names_no_cause_where_nothing_is_wrong() -> None:
    with record() as concurrency:
        concurrency.watch(fetch)
        assert concurrency.advice() == ""
        asyncio.run(together())
    advice = " ".join(concurrency.advice().split())

    assert " 3 calls in 3 tasks, 3 at once, " in advice
    assert advice.endswith("The tasks that they are will do as well.")


def test_elapsed_grows_and_stands_still_at_the_end() -> None:
    with record() as concurrency:
        first = concurrency.elapsed
        second = concurrency.elapsed
    end = concurrency.elapsed

    assert 0 <= first <= second <= end
    assert concurrency.elapsed == end


def test_nothing_blocked_is_nothing() -> None:
    with record() as concurrency:
        asyncio.run(together())
    assert concurrency.blocks == ()


def test_an_exception_passes_through_the_recording() -> None:
    recording = record()
    with pytest.raises(LookupError), recording as concurrency, concurrency.span("work"):
        raise LookupError
    assert [span.outcome for span in concurrency.spans("work")] == ["raised"]


def test_two_recordings_in_a_row_see_nothing_of_each_other() -> None:
    for _ in range(2):
        with record() as concurrency:
            concurrency.watch(fetch)
            asyncio.run(together())
        assert len(concurrency.spans()) == 3


def test_a_recording_inside_a_recording_sees_its_own_part() -> None:
    with record() as outer:
        outer.watch(fetch)
        asyncio.run(fetch(1))
        with record() as inner:
            inner.watch(fetch)
            asyncio.run(together())
        asyncio.run(fetch(2))
    assert (len(outer.spans()), len(inner.spans())) == (5, 3)


def test_the_object_is_public_and_final() -> None:
    with record() as concurrency:
        assert isinstance(concurrency, pytest_concurrency.Concurrency)
    assert pytest_concurrency.Concurrency.__final__  # type: ignore[attr-defined]


def test_the_fixture_is_the_same_object(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        shop="""
        import asyncio

        class Client:
            async def fetch(self):
                await asyncio.sleep(0)
        """,
        test_it="""
        import asyncio
        import pytest
        import pytest_concurrency
        from shop import Client

        async def checkout():
            client = Client()
            await asyncio.gather(client.fetch(), client.fetch(), client.fetch())

        def test_checkout(concurrency):
            assert isinstance(concurrency, pytest_concurrency.Concurrency)
            concurrency.watch("shop:Client.fetch")
            with concurrency.span("checkout"):
                asyncio.run(checkout())
            concurrency.assert_overlap("shop:Client.fetch", at_least=3)
            assert concurrency.peak("shop:Client.fetch") == 3
            assert [span.name for span in concurrency.spans("checkout")] == ["checkout"]
            assert concurrency.blocks == ()

        @pytest.mark.must_overlap("shop:Client.fetch")
        def test_with_a_marker(concurrency):
            asyncio.run(checkout())
            assert concurrency.peak("shop:Client.fetch") == 3

        def test_that_fails(concurrency):
            concurrency.watch("shop:Client.fetch")
            asyncio.run(checkout())
            concurrency.assert_no_overlap("shop:Client.fetch")
        """,
    )

    result = inner()

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       concurrency.assert_no_overlap(*",
            "E       *OverlapError: expected calls of shop:Client.fetch one at a time, saw 2 in progress together",
        ]
    )
    # The arrow is on the user's own line.
    result.stdout.no_fnmatch_line("*_concurrency.py*")


def test_a_fixtures_calls_are_recorded_too(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def fetch(): ...

        @pytest.fixture
        def fetched(concurrency):
            concurrency.watch("test_a_fixtures_calls_are_recorded_too:fetch")
            asyncio.run(fetch())

        def test_it(fetched, concurrency):
            asyncio.run(fetch())
            assert len(concurrency.spans()) == 2
        """
    )

    inner().assert_outcomes(passed=1)
