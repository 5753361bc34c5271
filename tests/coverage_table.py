"""Writes docs/coverage.md from a test run: `make coverage` runs the tests that prove a
construct, `@pytest.mark.proves(area, construct, how)`, and those that record a published model; the table lists what
passed, says where there is nothing to prove, and leaves empty what no test proved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
from coverage_rows import CONSTRUCTS, HOW, NOTHING


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--coverage-table", metavar="FILE", help="run what proves a construct, and write the table")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "proves(area, construct, how): what a test shows, for docs/coverage.md")
    config.addinivalue_line("markers", "published: a test of a published model class, for docs/coverage.md")
    if path := config.getoption("--coverage-table"):
        config.pluginmanager.register(_Table(Path(path)))


class _Table:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.proofs: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self.published: dict[str, tuple[str, float]] = {}
        self.in_runtimes: dict[str, float] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, others = [], []
        for item in items:
            claims = [(*mark.args,) for mark in item.iter_markers("proves")]
            for area, construct, how in claims:
                if construct not in CONSTRUCTS.get(area, ()) or how not in HOW:
                    raise pytest.UsageError(f"{item.nodeid} proves {area!r}, {construct!r}, {how!r}: not in the table")
            # With the report they come to the process that writes the table: tests may run in several.
            item.user_properties += [("proves", claim) for claim in claims]
            (kept if claims or item.get_closest_marker("published") else others).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        for kind, value in report.user_properties:
            if not isinstance(value, (tuple, list)):
                continue
            if kind == "proves":
                area, construct, how = value
                self.proofs[area, construct, how].append(report.nodeid)
            elif kind == "published":
                self.published[value[0]] = (value[1], value[2])
            elif kind == "runtimes":
                self.in_runtimes[value[0]] = value[1]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):  # which pytest-xdist gives the processes that it starts
            lines = [*table_lines(self.proofs), *self._published_lines()]
            self.path.write_text("\n".join(lines) + "\n")

    def _published_lines(self) -> list[str]:
        lines = [
            "",
            "## Published models",
            "",
            f"{len({one for one, _ in self.published.values()})} classes, as their packages have them"
            " (tests/published/), at 1, 2, 3 and 17 candidates: the largest difference from eager, of the",
            "stages after all passes and, where it was lowered, of the artifact in both runtimes.",
            "",
            "| class | built by | stages | artifact |",
            "|---|---|---|---|",
        ]
        for name, (published, difference) in sorted(self.published.items(), key=lambda one: one[1][0]):
            lowered = f"{self.in_runtimes[name]:.0e}" if name in self.in_runtimes else ""
            lines.append(f"| `{published}` | {name} | {difference:.0e} | {lowered} |")
        return lines


def table_lines(proofs: Mapping[tuple[str, str, str], list[str]]) -> list[str]:
    """The page but for its published models. `proofs`: ids of tests by (area, construct, how)."""
    lines = [
        "# What the compiler takes, and the test that shows it",
        "",
        "Written by `make coverage`, which runs these tests: an empty place has no test that passed. *Graph*: the",
        "captured graph, or what the passes make of it, answers as the model does (of a checkpoint or schema: is",
        "read as written). *Both runtimes*: so do the Python debug runtime and the C++ engine on an exported",
        "artifact. *Refusal*: the case that is refused, with the reason; of a pass, that it declines.",
    ]
    for area, constructs in CONSTRUCTS.items():
        lines += ["", f"## {area}", "", "| construct | graph | both runtimes | refusal |", "|---|---|---|---|"]
        for construct in constructs:
            places = [(area, construct, how) for how in HOW]
            cells = [_tests(proofs.get(place, [])) or _nothing(place) for place in places]
            lines.append(f"| {construct} | {' | '.join(cells)} |")
    return lines


def _nothing(place: tuple[str, str, str]) -> str:
    return f"none: {NOTHING[place]}" if place in NOTHING else ""


def _tests(ids: list[str]) -> str:
    """The first test, by its file and name; how many more there are."""
    if not ids:
        return ""
    file, _, name = min(ids).removeprefix("tests/").partition("::")
    name = name.partition("[")[0]
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return f"`{name}` ([{file}](../tests/{file})){more}"
