"""Imported first: this package's modules are not rewritten for their assertions, as pytest does to its plugins.

No test asserts anything here, and a module that pytest rewrites takes several times as long to load, its cached form
too: an idle plugin would cost twice as much. There is no public way to say so. Where pytest keeps its list in another
place one day, it rewrites them again, and that is all.
"""

from __future__ import annotations

import sys

for _finder in sys.meta_path:
    _marked = getattr(_finder, "_must_rewrite", None)
    if isinstance(_marked, set):
        _marked.discard(__package__)
