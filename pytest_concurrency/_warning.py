"""Issue a warning of ours at somebody's line, under the filters that were meant for it."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from ._errors import ConcurrencyWarning

if TYPE_CHECKING:
    import pytest

    from ._trace import Place


def issue(warning: ConcurrencyWarning, place: Place, item: pytest.Item) -> None:
    """Issue *warning* at *place*.

    An ini file's blanket `filterwarnings = error` does not make it an error: that line was written for other warnings,
    and a mode called `warn` does not change the outcome of a test. A filter that names our category is obeyed, and so
    is an `error` on the command line.

    Raises:
        ConcurrencyWarning: A filter that is obeyed makes an error of it.
    """
    if _is_blanket_error(warning, place) and not _asked_for_errors(item.config):
        message = warnings.WarningMessage(warning, type(warning), place.file, place.line)
        # What pytest itself does with a warning that it has recorded.
        recorded: Any = item.ihook.pytest_warning_recorded
        recorded.call_historic(
            kwargs={"warning_message": message, "nodeid": item.nodeid, "when": "runtest", "location": None}
        )
        return
    warnings.warn_explicit(warning, None, filename=place.file, lineno=place.line)


def _is_blanket_error(warning: ConcurrencyWarning, place: Place) -> bool:
    for action, message, category, module, line in warnings.filters:
        if (
            isinstance(warning, category)
            and (message is None or message.match(str(warning)))
            and (module is None or module.match(place.file.removesuffix(".py")))
            and line in (0, place.line)
        ):
            return action == "error" and not (isinstance(category, type) and issubclass(category, ConcurrencyWarning))
    return False


def _asked_for_errors(config: pytest.Config) -> bool:
    options = (*(config.getoption("pythonwarnings", None) or ()), *sys.warnoptions)
    # `-W e` is short for it.
    return any("error".startswith(option.partition(":")[0].strip() or "-") for option in options)
