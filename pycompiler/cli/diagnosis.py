"""A doctor's findings on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.doctor import Diagnosis


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    if diagnosis.cases:
        console.print(_cases(diagnosis))
    for finding in diagnosis.findings:
        console.print(f"{'WRONG' if finding.wrong else 'note'}: {finding.what}", soft_wrap=True)
        if finding.source:
            console.print(f"  {finding.source}", soft_wrap=True)
        if finding.advice:
            console.print(f"  {finding.advice}", soft_wrap=True)
    wrong = sum(case.verdict != "ok" for case in diagnosis.cases)
    verdict = "healthy" if diagnosis.healthy else "NOT to be served as it is"
    console.print(f"{len(diagnosis.cases)} cases, {wrong} wrong: {verdict}")


def _cases(diagnosis: Diagnosis) -> Table:
    """A row a case, whatever forms it was run in: the difference where it is right, else the verdict."""
    forms = list(dict.fromkeys(case.form for case in diagnosis.cases))
    table = Table(title="against eager PyTorch", title_justify="left")
    table.add_column("case")
    table.add_column("inputs")
    for form in forms:
        table.add_column(form)
    table.add_column("reason", overflow="fold")
    rows: dict[str, dict] = {}
    for case in diagnosis.cases:
        rows.setdefault(case.name, {"inputs": case.inputs})[case.form] = case
    for name, row in rows.items():
        found = [row[form] for form in forms if form in row]
        shown = [_shown(row[form].verdict, row[form].difference) if form in row else "" for form in forms]
        reasons = dict.fromkeys(case.reason for case in found if case.reason)
        table.add_row(name, row["inputs"], *shown, "; ".join(reasons))
    return table


def _shown(verdict: str, difference: float | None) -> str:
    if verdict == "fails":
        return "FAILS"
    return f"{'ok' if verdict == 'ok' else 'DIFFERS'} {difference:.1e}"
