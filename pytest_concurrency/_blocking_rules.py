"""The allow rules over a run: which of them let nothing off, also under xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._blocking.policy import AllowRule

_WIRE = "pytest_concurrency_rules"


class RulesRun:
    """Names the lines of `concurrency_allow_blocking` that nothing needs any more.

    A rule that no longer matches, since its code has moved or been mended, would hide the next mistake in silence.
    """

    def __init__(self, rules: tuple[AllowRule, ...]) -> None:
        self._rules = rules
        self._used: set[str] = set()
        self.has_watched = False
        """Whether any loop ran: without one no rule can have been needed."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", None) or {}
        used, watched = output.get(_WIRE, ((), False))
        self._used.update(used)
        self.has_watched = self.has_watched or watched

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._used.update(rule.text for rule in self._rules if rule.used)
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WIRE] = (sorted(self._used), self.has_watched)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        idle = [rule.text for rule in self._rules if rule.text not in self._used]
        if not idle or not self.has_watched or _is_partial(terminalreporter, config):
            return
        terminalreporter.section("allowed to block")
        rules, them = ("1 rule", "it") if len(idle) == 1 else (f"{len(idle)} rules", "them")
        terminalreporter.line(f"concurrency_allow_blocking: {rules} let nothing off in this run.")
        terminalreporter.line(f"If all tests ran, take {them} out; if the code has moved, correct {them}:")
        for text in idle:
            terminalreporter.line(f"  {text}")


def _is_partial(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> bool:
    """Tell whether only some of the tests were asked for, so that a rule may be needed by the others."""
    return (
        bool(terminalreporter.stats.get("deselected"))
        or any("::" in argument for argument in config.args)
        or config.option.collectonly
    )
