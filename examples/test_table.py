"""The tables in README.md and README.zh.md say what the examples say.

Each claim has one test whose docstring holds the claim in English, the note's own words, a verdict and what was seen.
The English table is made of these: `python examples/test_table.py` writes it anew. The Chinese one is written by hand,
and has to name the same claims, examples and verdicts, and quote the same words.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLAIMS = [
    *(
        f"{letter}{number}"
        for letter, many in (("P", 8), ("G", 7), ("C", 8), ("B", 6))
        for number in range(1, many + 1)
    ),
    *("T1", "T2", "V1"),
    *(f"D{number}" for number in range(1, 7)),
]
VERDICTS = {"true": "对", "imprecise": "不准确", "wrong": "错"}
LEAD = re.compile(r"(?P<claim>[PGCBTVD]\d): (?P<text>.+?) \((?P<words>\".+)\)(?=[.,])")
TABLE = re.compile(r"^\| .*\n(?:\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One claim, as its lead test tells it."""

    claim: str
    text: str
    words: str
    verdict: str
    seen: str
    file: str

    def as_line(self) -> str:
        return (
            f"| {self.claim} | {self.text} ({self.words}) | [{self.file}]({self.file}) | {self.verdict} | {self.seen} |"
        )


def one_line(text: str) -> str:
    return " ".join(text.split())


def rows() -> dict[str, Row]:
    """Return each claim with what the docstring of its lead test says of it."""
    found: dict[str, Row] = {}
    for file in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            told = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None
            if told is None or "\nVerdict: " not in told:
                continue
            lead = LEAD.match(one_line(told.partition("\n\n")[0]))
            assert lead is not None, f"{file.name}, {node.name}: no claim with the note's words in brackets"
            verdict, seen = re.split(r"\.\s+Seen: ", told.partition("\nVerdict: ")[2], maxsplit=1)
            claim = lead["claim"]
            assert claim not in found, f"{claim} has two verdicts"
            assert node.name.startswith(f"test_{claim.lower()}_")
            found[claim] = Row(claim, lead["text"], lead["words"], verdict, one_line(seen).rstrip("."), file.name)
    return found


def table() -> str:
    """Return the table of README.md."""
    known = rows()
    head = "| | the notes say | example | verdict | what we saw |\n|---|---|---|---|---|\n"
    return head + "".join(f"{known[claim].as_line()}\n" for claim in CLAIMS)


def cells(file: str) -> list[list[str]]:
    """Return the rows of a README's table, without its head."""
    found = TABLE.search((HERE / file).read_text(encoding="utf-8"))
    assert found is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[0].splitlines()[2:]]


def test_every_claim_has_one_verdict() -> None:
    known = rows()

    assert sorted(known) == sorted(CLAIMS)
    assert {row.verdict for row in known.values()} <= VERDICTS.keys()


def test_the_table_is_what_the_examples_say() -> None:
    found = TABLE.search((HERE / "README.md").read_text(encoding="utf-8"))

    assert found is not None
    assert found[0] == table(), "run `python examples/test_table.py`"


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_chinese_table_says_the_same(claim: str) -> None:
    row = rows()[claim]
    (found,) = (cell for cell in cells("README.zh.md") if cell[0] == claim)
    _, _, words, example, verdict, seen = found

    assert words == row.words
    assert example == f"[{row.file}]({row.file})"
    assert verdict == VERDICTS[row.verdict]
    # What is a number in one language is one in the other.
    assert sorted(re.findall(r"\d+", seen)) == sorted(re.findall(r"\d+", row.seen))


if __name__ == "__main__":
    readme = HERE / "README.md"
    readme.write_text(
        TABLE.sub(table().replace("\\", r"\\"), readme.read_text(encoding="utf-8"), count=1), encoding="utf-8"
    )
