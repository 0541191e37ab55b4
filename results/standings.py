"""Writes docs/standings.md from the raw results of all studies: python -m results.standings

For each family, every system that was tested on its held-out tasks, by what it is told of a task.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from onebody.reports import markdown
from onebody.reports.study_runs import runs_of, scores, test_of
from onebody.reports.study_table import TOLD
from onebody.runs import statistics, studies
from onebody.runs.statistics import Estimate
from onebody.runs.study_file import Published, Study
from onebody.tasks import registry

PAGE = Path("docs/standings.md")
VARIANTS = ("ablations-", "mbmpo-3", "mbmpo-4-", "mbmpo-5", "mbmpo-6", "mbmpo-7-", "logs-")
"""beginnings of the names of studies that compare settings or data of one system, not systems"""
HEAD = """# Who is best where

For each family, every system with committed results: what it is told of a task, with how many real samples, how many training runs, and the
mean return that it reaches on the held-out tasks, with the deterministic policy. Brackets: the 95% interval of the mean over five or more seeds, or the values of fewer. **Bold**: the
highest mean of those that are told as much, which is a better system only where intervals do not overlap, at the numbers of samples in the table. Published numbers are often of other simulators, of sampled
actions, or of other tasks from the same distribution; the study says what differs. This page is written by `python -m results.standings` from the raw results.

"""


class Row(NamedTuple):
    """One system at one stage of adaptation."""

    system: str
    told: str
    """empty for a family of a single task"""
    training_samples: int
    task_samples: int
    returns: Estimate
    study: str
    runs: tuple[Path, ...]


def rows_of(study: Study, name: str) -> list[Row]:
    """The systems of a study after training and, where they take samples of the task, after their last stage."""
    rows = []
    for system in study.systems:
        runs = runs_of(study, system, Path("results", name))
        if not runs.last:
            continue
        told = TOLD[test_of(runs)["told"]] if registry.make(study.family).space.size else ""
        samples = max(n for n, _ in runs.last)
        last = min(len(stages) for _, stages in runs.last) - 1
        for stage in dict.fromkeys((0, last)):
            taken = int(runs.last[0][1][stage]["adaptation_samples"])
            mean = statistics.estimate(statistics.mean(scores(runs.last, stage)))
            owner = studies.owner_of(study, system)[0].name
            rows.append(Row(system.label, told, samples, taken, mean, owner, runs.paths))
    return rows


def standings() -> str:
    """The page."""
    families: dict[str, list[tuple[Study, list[Row]]]] = defaultdict(list)
    for name, study in studies.all_built_in().items():
        if not name.startswith(VARIANTS) and (rows := rows_of(study, name)):
            families[study.family].append((study, rows))
    return HEAD + "\n\n".join(section(family, families[family]) for family in sorted(families)) + "\n"


def section(family: str, tested: Sequence[tuple[Study, list[Row]]]) -> str:
    """A family's table, and the published numbers of its studies."""
    rows = list(
        {(row.runs, row.training_samples, row.task_samples): row for _, rows in tested for row in rows}.values()
    )
    order = ["", *TOLD.values()]
    rows.sort(key=lambda row: (order.index(row.told), -row.returns.value))
    best = [next(row for row in rows if row.told == told) for told in {row.told for row in rows}]
    head = ("system", "told", "samples of training", "samples of the task", "seeds", "mean return", "study")
    table = markdown.table([head, *(cells(row, row in best) for row in rows)])
    published = {f"* {shown(each)}" for study, _ in tested for each in study.published}
    return "\n\n".join([f"## {family}", table, *(["\n".join(sorted(published))] if published else [])])


def cells(row: Row, best: bool) -> tuple[str, ...]:
    value, mark = row.returns, "**" if best else ""
    few = value.by_seed if len(value.by_seed) > 1 else []
    spread = (
        f"{value.interval[0]:,.1f} to {value.interval[1]:,.1f}"
        if value.interval
        else " ".join(f"{x:,.1f}" for x in few)
    )
    mean = f"{mark}{value.value:,.1f}{mark}{f' ({spread})' if spread else ''}"
    pages = [row.study, *(figure for figure, panels in studies.figures().items() if row.study in panels)]
    page = next(page for page in pages if Path("results", page, "README.md").exists())
    link = f"[{page}](../results/{page}/README.md)"
    return (
        row.system,
        row.told,
        f"{row.training_samples:,}",
        f"{row.task_samples:,}",
        str(len(value.by_seed)),
        mean,
        link,
    )


def shown(published: Published) -> str:
    """A published number, or those after the most samples."""
    what = (
        f"{published.value:,g}" if not published.points else "{1:,g} after {0:,} samples".format(*published.points[-1])
    )
    return f"{markdown.plain(published.label)}: {what} ({markdown.plain(published.source)})"


if __name__ == "__main__":
    PAGE.write_text(standings(), encoding="utf-8")
