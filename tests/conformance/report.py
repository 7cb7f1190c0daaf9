"""The page docs/conformance.md, of the records: ``python -m tests.conformance.report`` writes it.

What it says of a case is what the tests hold: a case without a reason is answered as recorded (or its test fails), one
that is ``different`` is answered differently (or its test, which expects that, fails).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).with_name("records")
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
TESTS = Path(__file__).parent
SAME, DIFFERENT, NOT_APPLICABLE = "same", "different on purpose", "not applicable"

INTRODUCTION = """# Conformance

The embedded server answers as TensorFlow Serving does. The records in `tests/conformance/records` hold what the stock
`tensorflow_model_server` (August 2026 source, TensorFlow 2.21) answered; the tests send each call again and compare
status code, message, names, dtypes, shapes and values, and for the life of models the order of states. This page is
written from the records by `python -m tests.conformance.report`; a test fails where it is out of date.

**same**: answered as recorded. **different on purpose**: answered otherwise, for the reason that is given.
**not applicable**: a time, a log or a size of the real server's process, or something that the caller's side does.
"""


def outcome(case: dict[str, Any]) -> tuple[str, str]:
    """Return what the tests hold of a case, and the reason."""
    if "skipped" in case:
        return NOT_APPLICABLE, case["skipped"]
    return (DIFFERENT, case["different"]) if "different" in case else (SAME, "")


def files() -> dict[str, list[dict[str, Any]]]:
    """Return the cases of every file of records, by its name."""
    return {
        file.stem: [case for case in json.loads(file.read_text(encoding="utf-8"))["cases"] if not case.get("fresh")]
        for file in sorted(RECORDS.glob("*.json"))
    }


def counts() -> dict[str, int]:
    """Return how many cases have each outcome."""
    outcomes = [outcome(case)[0] for cases in files().values() for case in cases]
    return {each: outcomes.count(each) for each in (SAME, DIFFERENT, NOT_APPLICABLE)}


def is_held(case: dict[str, Any]) -> bool:
    """Return whether a test that holds a case is there: one of the name that it gives, or else it is a call."""
    if "test" not in case:
        return "rpc" in case or "http_method" in case or "skipped" in case
    file, _, function = case["test"].partition("::")
    return f"def {function}" in (TESTS / file).read_text(encoding="utf-8")


def page() -> str:
    """Return the page."""
    total = counts()
    applicable = total[SAME] + total[DIFFERENT]
    share = 100 * total[SAME] / applicable
    lines = [
        INTRODUCTION,
        (
            f"Of {applicable} applicable cases {total[SAME]} are the same ({share:.1f} %), {total[DIFFERENT]} are different on "
            f"purpose; {total[NOT_APPLICABLE]} are not applicable.\n"
        ),
        "## Different on purpose\n",
        "| case | reason |\n| --- | --- |",
        *_rows(DIFFERENT),
        "\n## All cases\n",
    ]
    for name, cases in files().items():
        lines.append(f"### {name}\n")
        for kind in (SAME, DIFFERENT, NOT_APPLICABLE):
            names = [f"`{case['name']}`" for case in cases if outcome(case)[0] == kind]
            if names:
                lines.append(f"{kind}: {', '.join(names)}\n")
    lines += ["## Not applicable\n", "| case | reason |\n| --- | --- |", *_rows(NOT_APPLICABLE)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _rows(kind: str) -> list[str]:
    return [
        f"| {name} `{case['name']}` | {outcome(case)[1]} |"
        for name, cases in files().items()
        for case in cases
        if outcome(case)[0] == kind
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
