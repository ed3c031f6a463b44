"""Can the examples fail? One change for each claim, after which the claim's test has to be red.

`python examples/mutations.py` makes each change in a copy, runs the test that it is about, and fails if one stays
green; `python examples/mutations.py B3 D6` makes those only. It takes a minute or two.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Mutation:
    """What is changed where, and which test has to notice."""

    claim: str
    what: str
    test: str
    """`file::function`: the test, which is also where the change is made unless *file* says otherwise."""
    old: str
    new: str
    file: str = ""
    inside: str = ""
    """The function that is changed, where it is not the test."""


MUTATIONS = [
    Mutation(
        "P1", "compute in processes", "test_gil.py::test_p1_threads_overlap_and_do_not_run_in_parallel",
        "count_in_threads(many)", "count_in_processes(many)",
    ),
    Mutation(
        "P2", "a pool of one thread", "test_gil.py::test_p2_waits_in_threads_overlap",
        "ThreadPoolExecutor(MANY)", "ThreadPoolExecutor(1)",
    ),
    Mutation(
        "P3", "compute in threads", "test_gil.py::test_p3_computing_runs_in_parallel_in_processes",
        "count_in_processes(many)", "count_in_threads(many)",
    ),
    Mutation(
        "P4", "nothing raises", "test_processes.py::test_p4_both_pools_are_used_in_the_same_way",
        "lesson_work.square, -1)", "lesson_work.square, 1)",
    ),
    Mutation(
        "P5", "run() in place of start()", "test_processes.py::test_p5_a_process_is_one_process",
        "process.start()", "process.run()",
    ),
    Mutation(
        "P6", "change the global here", "test_processes.py::test_p6_a_plain_global_stays_where_it_was_changed",
        "in_a_child(start_method, lesson_work.add_one)", "lesson_work.add_one()",
    ),
    Mutation(
        "P7", "spawn", "test_processes.py::test_p7_a_forked_child_goes_on_from_the_middle",
        "what_a_child_finds(start_method)", 'what_a_child_finds(multiprocessing.get_context("spawn"))',
    ),
    Mutation(
        "P8", "fork", "test_processes.py::test_p8_a_spawned_child_begins_anew_and_imports_the_file",
        "what_a_child_finds(start_method)", 'what_a_child_finds(multiprocessing.get_context("fork"))',
    ),
    Mutation(
        "G1", "no yield", "test_generators.py::test_g1_calling_a_generator_function_runs_no_line_of_it",
        "        yield 1\n", "",
    ),
    Mutation(
        "G2", "one value less", "test_generators.py::test_g2_next_stop_iteration_and_for",
        "        yield 3\n", "",
    ),
    Mutation(
        "G3", "a scheduler that goes on with the same one",
        "test_generators.py::test_g3_the_program_decides_who_runs_next",
        "ready.append(generator)", "ready.insert(0, generator)", inside="round_robin",
    ),
    Mutation(
        "G4", "steps in worker threads", "test_generators.py::test_g4_tasks_that_overlap_share_one_thread_asyncio",
        "steps.append(threading.get_ident())", "steps.append(await asyncio.to_thread(threading.get_ident))",
    ),
    Mutation(
        "G5", "yield in place of yield from", "test_generators.py::test_g5_yield_from_does_without_the_middleman",
        "yield from g3(i)", "yield g3(i)",
    ),
    Mutation(
        "G6", "yield in place of yield from",
        "test_generators.py::test_g6_yield_gives_the_generator_and_yield_from_its_values",
        "        yield from g2()\n", "        yield g2()\n",
    ),
    Mutation(
        "G7", "a wait that the loop does not know of",
        "test_generators.py::test_g7_while_one_task_waits_another_gets_on_asyncio",
        "await asyncio.sleep(1)", '__import__("time").sleep(0.02)',
    ),
    Mutation(
        "C1", "await at once",
        "test_coroutines.py::test_c1_a_coroutine_function_makes_an_object_that_runs_when_it_is_awaited",
        "        assert lines == []\n        await coroutine\n",
        "        await coroutine\n        assert lines == []\n",
    ),
    Mutation(
        "C2", "no await", "test_coroutines.py::test_c2_await_runs_to_the_end_and_then_goes_on",
        "await inside()", "inside()",
    ),
    Mutation(
        "C3", "await in place of run", "test_coroutines.py::test_c3_run_is_the_top_level_entry_asyncio",
        "asyncio.run(again)", "await again",
    ),
    Mutation(
        "C4", "await the shorter", "test_coroutines.py::test_c4_awaiting_the_longer_task_is_enough_asyncio",
        "        await task_killer\n", "        await task_lady\n",
    ),
    Mutation(
        "C5", "await the longer",
        "test_coroutines.py::test_c5_awaiting_only_the_shorter_task_loses_the_longer_asyncio",
        "await task_lady", "await task_killer",
    ),
    Mutation(
        "C6", "as_completed in place of gather",
        "test_coroutines.py::test_c6_gather_returns_results_in_the_order_passed",
        "await asyncio.gather(answer(3), answer(1), answer(2))",
        "[await each for each in asyncio.as_completed([answer(3), answer(1), answer(2)])]",
    ),
    Mutation(
        "C7", "no types.coroutine",
        "test_coroutines.py::test_c7_a_generator_can_be_awaited_when_types_coroutine_says_so",
        "    @types.coroutine\n", "",
    ),
    Mutation(
        "C8", "no task", "test_coroutines.py::test_c8_a_coroutine_runs_by_being_awaited_by_run_or_as_a_task",
        "        task = asyncio.create_task(by_task())\n        await task\n", "        by_task()\n",
    ),
    Mutation(
        "B1", "an awaited sleep",
        "test_blocking.py::test_b1_two_coroutines_with_time_sleep_block_the_loop_one_after_the_other",
        "time.sleep(SECOND)  # 这是线程阻塞的代码  整个", "await asyncio.sleep(0)  # 整个",
    ),
    Mutation(
        "B2", "gather", "test_blocking.py::test_b2_asyncio_sleep_awaited_one_after_the_other_takes_2_s_asyncio",
        "        await f1()  # 等待协程结束\n        await f2()\n", "        await asyncio.gather(f1(), f2())\n",
    ),
    Mutation(
        "B3", "no gather", "test_blocking.py::test_b3_with_gather_it_takes_1_s_asyncio",
        "        await asyncio.gather(f1(), f2())\n", "        await f1()\n        await f2()\n",
    ),
    Mutation(
        "B4", "nothing synchronous", "test_blocking.py::test_b4_one_time_sleep_stops_every_other_task_asyncio",
        "time.sleep(SECOND)", "pass", inside="block",
    ),
    Mutation(
        "B5", "a lock that does not wait", "test_blocking.py::test_b5_a_synchronous_resource_blocks_the_loop",
        "lock.acquire(timeout=10 * AT_MOST)", "lock.acquire(blocking=False)", inside="acquire_a_lock",
    ),
    Mutation(
        "B5", "a synchronous queue for a twin", "test_blocking.py::test_b5_its_async_twin_leaves_the_loop_to_others",
        "await get()", "(get_from_a_queue() or await get())", inside="queue",
    ),
    Mutation(
        "B6", "the synchronous client in a thread", "test_blocking.py::test_b6_a_synchronous_client_blocks_the_loop",
        "urllib.request.urlopen(url) as", "await asyncio.to_thread(urllib.request.urlopen, url) as",
    ),
    Mutation(
        "B6", "a synchronous client for httpx", "test_blocking.py::test_b6_httpx_overlaps_its_requests",
        "await client.get(url)", "(time.sleep(0.01), await client.get(url))[1]",
    ),
    Mutation(
        "T1", "time.sleep in the handler", "test_tornado.py::test_t1_requests_to_a_handler_that_awaits_overlap",
        "await party.wait()", "time.sleep(0.02)",
    ),
    Mutation(
        "T2", "time.sleep in the old handler",
        "test_tornado.py::test_t2_a_coroutine_with_yield_does_as_one_with_async",
        "yield gen.sleep(0)", "time.sleep(0.02)",
    ),
    Mutation(
        "V1", "no patch", "test_gevent.py::test_v1_patched_the_same_code_overlaps",
        "monkey.patch_all()", "monkey", file="programs/greenlets.py",
    ),
    Mutation(
        "D1", "wait for each answer before the next question",
        "test_choosing.py::test_d1_processes_that_were_started_separately_share_the_work_by_messages",
        '        end.sendall(b"%d\\n" % number)\n    for end in ends:\n',
        '        end.sendall(b"%d\\n" % number)\n',
    ),
    Mutation(
        "D2", "threads that wait",
        "test_choosing.py::test_d2_computing_in_threads_is_advised_to_become_processes",
        "partial(lesson_work.count, 2_000_000)", "partial(lesson_work.count, 2)",
    ),
    Mutation(
        "D3", "half as many", "test_choosing.py::test_d3_the_more_wait_at_once_the_lighter_they_have_to_be",
        "units.in_coroutines(many)", "units.in_coroutines(many // 2)",
    ),
    Mutation(
        "D4", "a larger pool", "test_choosing.py::test_d4_a_pool_caps_how_many_there_are_at_once",
        "ThreadPoolExecutor(3)", "ThreadPoolExecutor(4)",
    ),
    Mutation(
        "D5", "first the one, then the other",
        "test_choosing.py::test_d5_producer_and_consumer_overlap_through_a_queue_asyncio",
        "asyncio.Queue(1)\n        return await asyncio.gather(produce(places), consume(places))",
        "asyncio.Queue()\n        return [await produce(places), await consume(places)]",
    ),
    Mutation(
        "D6", "no lock", "test_choosing.py::test_d6_a_lock_keeps_them_apart",
        "threading.Lock() if locked", "nullcontext() if locked",
    ),
    Mutation(
        "D6", "a lock where there is none", "test_choosing.py::test_d6_a_lock_keeps_tasks_apart",
        "        else:\n            await critical_on_a_loop()",
        "        else:\n            async with lock:\n                await critical_on_a_loop()",
    ),
]  # fmt: skip


def mutated(mutation: Mutation, text: str) -> str:
    """Return the file's text with the change in it.

    Raises:
        LookupError: There is no such place, or more than one.
    """
    function = mutation.inside or ("" if mutation.file else mutation.test.partition("::")[2])
    start, end = 0, len(text)
    if function:
        head = re.search(rf"^( *)(?:async )?def {function}\b", text, re.MULTILINE)
        if head is None:
            raise LookupError(f"{mutation.claim}: no function {function}")
        start = head.start()
        # To the next line that is not deeper, but for the end of its head.
        after = re.compile(rf"\n {{0,{len(head[1])}}}[^\s)]").search(text, head.end())
        end = after.start() + 1 if after is not None else end
    body = text[start:end]
    if body.count(mutation.old) != 1:
        raise LookupError(f"{mutation.claim}: {mutation.old!r} is not once in {function or mutation.file}")
    return text[:start] + body.replace(mutation.old, mutation.new) + text[end:]


def outcome_of(mutation: Mutation) -> tuple[str, str]:
    """Make one change in a copy and run its test: `red`, `GREEN` or `skipped`, and pytest's last line."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "pyproject.toml", folder)
        copy = shutil.copytree(HERE, Path(folder) / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / (mutation.file or mutation.test.partition("::")[0])
        changed.write_text(mutated(mutation, changed.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"examples/{mutation.test}"]
        # The plugin that is installed, or the checkout's.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    last = (result.stdout.strip().splitlines() or [result.stderr.strip()])[-1]
    if result.returncode == 1:
        return "red", last
    # What the test is about may be missing here.
    return "skipped" if result.returncode in (0, 5) and " passed" not in last else "GREEN", last


def main(claims: list[str]) -> int:
    """Make all changes, or those of some claims, and say what became of each."""
    chosen = [mutation for mutation in MUTATIONS if not claims or mutation.claim in claims]
    outcomes = []
    with ThreadPoolExecutor(2) as pool:
        for mutation, (outcome, last) in zip(chosen, pool.map(outcome_of, chosen), strict=True):
            outcomes.append(outcome)
            print(f"{outcome:<7} {mutation.claim}  {mutation.what}: {last}", flush=True)
    print(f"{outcomes.count('red')} of {len(chosen)} changes turn their test red, {outcomes.count('skipped')} skipped")
    return 1 if "GREEN" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
