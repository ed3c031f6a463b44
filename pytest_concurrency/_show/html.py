"""The report as one page that needs nothing else: no network, no script. Everything a test said is escaped."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_ROWS = 200
_MEANING = {
    "running": "running",
    "waiting": "waiting",
    "blocked": "blocking the loop",
    "held": "done, held for the proof",
}
_TIMELINE_STYLE = """
.pc-lanes{--running:#2563eb;--waiting:#8b95a5;--blocked:#c81e1e;--held:#7c3aed;--track:#eef1f5;--soft:#57606a;
 font:13px/1.4 system-ui,sans-serif}
.pc-row{display:grid;grid-template-columns:minmax(7rem,15rem) 1fr minmax(7.5rem,auto);gap:.2rem .75rem;
 align-items:center;padding:1px 0}
.pc-label{overflow-wrap:anywhere}.pc-label small,.pc-time{color:var(--soft);font-variant-numeric:tabular-nums}
.pc-time{font-size:12px;white-space:nowrap}
.pc-track{position:relative;height:14px;background:var(--track);border-radius:2px}
.pc-track i{position:absolute;min-width:2px;top:0;bottom:0}
.pc-track .running{background:var(--running)}
.pc-track .waiting{top:6px;bottom:6px;background:var(--waiting)}
.pc-track .blocked{background:repeating-linear-gradient(45deg,var(--blocked) 0 4px,transparent 4px 6px),var(--track);
 outline:1px solid var(--blocked);outline-offset:-1px}
.pc-track .held{top:3px;bottom:3px;background:repeating-linear-gradient(90deg,var(--held) 0 3px,transparent 3px 6px)}
.pc-legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.4rem 0 0;padding:0;list-style:none;color:var(--soft)}
.pc-legend .pc-track{display:inline-block;width:1.6rem;margin-right:.4rem;vertical-align:-2px}
.pc-legend .pc-track i{left:0;right:0}
@media (max-width:640px){.pc-row{grid-template-columns:1fr auto}.pc-track{grid-column:1/-1;grid-row:2}}
"""
# Not for somebody else's page, which may know no darkness.
_DARK_TIMELINE_STYLE = """
@media (prefers-color-scheme:dark){
.pc-lanes{--running:#6ea8fe;--waiting:#7d8794;--blocked:#ff6b6b;--held:#b794f6;--track:#252b33;--soft:#9aa4b0}}
"""
_PAGE_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1f24;--soft:#57606a;--line:#d5dae1;--panel:#f6f8fa;--bad:#b42318;
--good:#0f6b3a;--link:#1d4ed8}
@media (prefers-color-scheme:dark){:root{--ground:#14181d;--text:#e4e8ed;--soft:#9aa4b0;--line:#343c46;--panel:#1c2229;
--bad:#ff8a80;--good:#6fdc9c;--link:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1rem;background:var(--ground);color:var(--text);
 font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.4rem;margin:0}h2{font-size:.95rem;margin:1rem 0 .35rem}
p{margin:.25rem 0}.soft{color:var(--soft)}
fieldset{border:0;margin:1rem 0 .5rem;padding:0;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem}
legend{float:left;margin-right:1rem;color:var(--soft)}label{cursor:pointer}
details.test{border:1px solid var(--line);border-radius:6px;margin:.5rem 0}
summary{padding:.5rem .75rem;cursor:pointer;overflow-wrap:anywhere}
summary:focus-visible,input:focus-visible{outline:2px solid var(--link);outline-offset:2px}
summary .nodeid{font-family:ui-monospace,monospace;font-size:.9rem}
.inside{padding:0 .75rem .75rem;border-top:1px solid var(--line)}
.outcome,.broken,.held-word{font-weight:600}.outcome{margin-right:.35rem}
.failed .outcome,.broken{color:var(--bad)}.passed .outcome,.held-word{color:var(--good)}
pre{margin:.35rem 0;padding:.6rem .75rem;overflow-x:auto;background:var(--panel);border-radius:4px;
 font:12.5px/1.45 ui-monospace,monospace}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
td:first-child code{white-space:nowrap}td ul{margin:0;padding-left:1.1rem}td summary{padding:0;color:var(--link)}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
body:has(#only-failed:checked) .test:not(.failed),body:has(#only-found:checked) .test:not(.found){display:none}
body:has(#only-failed:checked) .quiet,body:has(#only-found:checked) .quiet{display:none}
"""


def document(tests: Sequence[Mapping[str, Any]], version: str) -> str:
    """Return the page for *tests*: those with findings first, and of those that recorded nothing only the names."""
    telling: list[Mapping[str, Any]] = []
    quiet: list[Mapping[str, Any]] = []
    for test in tests:
        is_telling = _found(test) or _lanes(test) or test["outcome"] == "failed"
        (telling if is_telling else quiet).append(test)
    telling.sort(key=lambda test: (test["outcome"] != "failed", not _found(test)))
    body = "\n".join(_test(test) for test in telling)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(_title(tests))}</title>
<style>{_PAGE_STYLE}{_TIMELINE_STYLE}{_DARK_TIMELINE_STYLE}</style>
</head>
<body>
<header>
<h1>Concurrency report</h1>
<p>{escape(_title(tests))}</p>
</header>
<fieldset>
<legend>Show</legend>
<label><input type="radio" name="show" id="all" checked> all tests</label>
<label><input type="radio" name="show" id="only-failed"> failed ones</label>
<label><input type="radio" name="show" id="only-found"> those with findings</label>
</fieldset>
<main>
{body}
{_quiet(quiet)}
</main>
<footer><p class="soft">pytest_concurrency {escape(version)}</p></footer>
</body>
</html>
"""


def fragment(test: Mapping[str, Any]) -> str:
    """Return the timeline of one test, to be put into somebody else's page; nothing where there is none."""
    lanes = _timeline(test)
    return f"<style>{_TIMELINE_STYLE}</style>{lanes}" if lanes else ""


def _title(tests: Sequence[Mapping[str, Any]]) -> str:
    count = Counter(test["outcome"] for test in tests)
    words = [f"{len(tests)} test{'s' * (len(tests) != 1)}"]
    words += [f"{count[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if count[outcome]]
    found = sum(_found(test) for test in tests)
    return f"{', '.join(words)}; {found} finding{'s' * (found != 1)}"


def _found(test: Mapping[str, Any]) -> int:
    broken = sum(not expectation["held"] for expectation in test["expectations"])
    return broken + len(_grouped(test["blocks"])) + len(test["leaks"])


def _lanes(test: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    drawing = test.get("drawing", {"spans": [], "strands": []})
    return [*drawing["spans"], *drawing["strands"]]


def _quiet(tests: Sequence[Mapping[str, Any]]) -> str:
    if not tests:
        return ""
    names = "".join(f"<li><code>{escape(test['nodeid'])}</code> {escape(test['outcome'])}</li>" for test in tests)
    what = "1 test in which nothing was recorded" if len(tests) == 1 else f"{len(tests)} tests in which nothing was"
    what += "" if len(tests) == 1 else " recorded"
    return f'<details class="test quiet"><summary>{what}</summary><div class="inside"><ul>{names}</ul></div></details>'


def _test(test: Mapping[str, Any]) -> str:
    facts = [seconds(test["seconds"]), test["backend"], test["worker"]]
    number = _found(test)
    if number:
        facts.append(f"{number} finding{'s' * (number != 1)}")
    classes = f"test {test['outcome']}{' found' * bool(number)}"
    parts = [_expectations(test["expectations"]), _timeline(test), _blocks(test["blocks"]), _leaks(test["leaks"])]
    inside = "".join(filter(None, parts)) or "<p>Nothing was recorded.</p>"
    return (
        f'<details class="{escape(classes)}"{" open" * bool(number or test["outcome"] == "failed")}>'
        f'<summary><span class="outcome">{escape(test["outcome"])}</span> '
        f'<span class="nodeid">{escape(test["nodeid"])}</span> '
        f'<span class="soft">{escape(", ".join(filter(None, facts)))}</span></summary>'
        f'<div class="inside">{inside}</div></details>'
    )


def _expectations(expectations: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for expectation in expectations:
        word = '<span class="held-word">held</span>' if expectation["held"] else '<span class="broken">broken</span>'
        lines.append(f"<p><code>{escape(expectation['marker'])}</code> {word}</p>")
        if expectation["message"]:
            # Wider than a phone: it scrolls by itself, with the keyboard too.
            lines.append(f'<pre tabindex="0">{escape(expectation["message"])}</pre>')
    return f"<h2>Expectations</h2>{''.join(lines)}" if lines else ""


def _timeline(test: Mapping[str, Any]) -> str:
    every = _lanes(test)
    if not every:
        return ""
    start = min(lane["start"] for lane in every)
    length = max(max(lane["end"] for lane in every) - start, 1e-9)
    strands = {lane["id"]: lane["label"] for lane in test["drawing"]["strands"]}
    used: dict[str, None] = {}
    blocks = []
    for title, kind in (("Calls", "spans"), ("Strands", "strands")):
        lanes, number = test["drawing"][kind], test["drawing"]["number"][kind]
        if not lanes:
            continue
        rows = [
            _row(lane, strands.get(lane.get("strand"), lane.get("kind", "")), start, length, used)
            for lane in lanes[:_MOST_ROWS]
        ]
        if number > len(rows):
            rows.append(f"<p>and {number - len(rows)} more</p>")
        blocks.append(f"<h2>{title}</h2>{''.join(rows)}")
    legend = "".join(
        f'<li><span class="pc-track"><i class="{kind}"></i></span>{meaning}</li>'
        for kind, meaning in _MEANING.items()
        if kind in used
    )
    return f'<div class="pc-lanes">{"".join(blocks)}<ul class="pc-legend">{legend}</ul></div>'


def _row(lane: Mapping[str, Any], whose: str, start: float, length: float, used: dict[str, None]) -> str:
    bars, sums = [], dict.fromkeys(_MEANING, 0.0)
    for kind, begin, end in lane["parts"]:
        used[kind] = None
        sums[kind] += end - begin
        left, width = (begin - start) / length * 100, (end - begin) / length * 100
        bars.append(f'<i class="{kind}" style="left:{left:.3f}%;width:{width:.3f}%"></i>')
    said = ", ".join(f"{_MEANING[kind]} {seconds(value)}" for kind, value in sums.items() if value)
    time = _range(lane["start"] - start, lane["end"] - start, length)
    about = escape(f"{lane['label']}, {whose}: {said}", quote=True)
    return (
        f'<div class="pc-row"><span class="pc-label">{escape(lane["label"])} <small>{escape(whose)}</small></span>'
        f'<span class="pc-track" role="img" aria-label="{about}" title="{about}">{"".join(bars)}</span>'
        f'<span class="pc-time">{time}</span></div>'
    )


def _range(start: float, end: float, length: float) -> str:
    scale, unit, digits = (1000, "ms", 1) if length < 0.1 else (1, "s", 2)
    return f"{start * scale:.{digits}f}-{end * scale:.{digits}f} {unit}"


def seconds(value: float) -> str:
    """Return a length of time in words."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _grouped(blocks: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return together the blocks that one line made in one call."""
    groups: dict[tuple[object, ...], list[Mapping[str, Any]]] = {}
    for block in blocks:
        key = (block["kind"], block["call"], block["file"], block["line"], block["function"])
        groups.setdefault(key, []).append(block)
    return list(groups.values())


def _blocks(blocks: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for group in _grouped(blocks):
        first = group[0]
        known = [block["seconds"] for block in group if block["seconds"] is not None]
        took = seconds(sum(known)) if known else "stopped"
        times = f", {len(group)} times" if len(group) > 1 else ""
        stack = "".join(f"<li><code>{escape(frame)}</code></li>" for frame in first["stack"])
        way = f"<details><summary>way there</summary><ul>{stack}</ul></details>" if len(first["stack"]) > 1 else ""
        place = escape(f"{first['file']}:{first['line']}")
        rows.append(
            f"<tr><td><code>{escape(first['call'])}</code></td><td>{escape(first['kind'])}</td>"
            f"<td>{took}{times}</td><td><code>{place}</code> in {escape(first['function'])}{way}</td></tr>"
        )
    return _table("Blocked the event loop", ("call", "kind", "time", "place"), rows)


def _leaks(leaks: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for leak in leaks:
        place = f"<code>{escape(leak['file'])}:{leak['line']}</code>" if leak["file"] is not None else "unknown"
        name = f"<code>{escape(leak['name'])}</code>"
        rows.append(f"<tr><td>{escape(leak['kind'])}</td><td>{name}</td><td>{place}</td></tr>")
    return _table("Left behind", ("kind", "name", "started at"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return f'<h2>{title}</h2><div class="wide" tabindex="0"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
