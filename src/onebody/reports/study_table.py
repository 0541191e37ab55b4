"""The table of a study, in Markdown."""

import math
from collections.abc import Sequence

from onebody.reports import markdown
from onebody.reports.markdown import plain
from onebody.reports.study_runs import Runs, Trained, scores, test_of
from onebody.runs import studies
from onebody.runs.statistics import Estimate, estimate, mean, worst
from onebody.runs.study_file import Published, Study, System


def table(trained: Trained) -> str:
    """One row per system that was tested: mean return at each stage, and the worst task's at the last stage shown.

    What the systems are told of a task stands in a column where they differ; empty where none was tested.
    """
    study = trained.study
    shown = _shown_stages(study.test.stages)
    found = [(system, runs) for system in study.systems if (runs := trained.runs[system.name]).last]
    if not found:
        return ""
    rows = [_row(system, runs, shown, TOLD[test_of(runs)["told"]], _planned(study, system)) for system, runs in found]
    empty = [name for name in rows[0] if not any(row[name] for row in rows)]
    unneeded = {*empty, *(["told"] if len({row["told"] for row in rows}) == 1 else [])}
    table = [[name for name in rows[0] if name not in unneeded]]
    table += [[text for name, text in row.items() if name not in unneeded] for row in rows]
    published = [
        f"{plain(each.label)}: {_numbers(each)}" for each in study.published if each.chart in ("adaptation", "training")
    ]
    return "\n\n".join([markdown.table(table), *(["; ".join(published)] if published else [])])


TOLD = {"task": "the task", "reward function": "the reward function", "nothing": "nothing"}
"""what the systems of a table are told"""


def _numbers(published: Published) -> str:
    if math.isfinite(published.value):
        return f"{published.value:g}"
    of = "" if published.chart == "training" else " of the task"
    return ", ".join(f"{y:g} after {x:,.0f} samples{of}" for x, y in published.points)


def _shown_stages(last: int) -> list[int]:
    """All stages, or of more than six the first, every fifth and the last."""
    return list(range(last + 1)) if last <= 6 else sorted({0, 1, last, *range(5, last, 5)})


def _planned(study: Study, system: System) -> int:
    """Real samples after which a system of the study is to be tested on a laptop; 0 if the number is not fixed."""
    training = studies.owner_of(study, system)[1].trainings.get("laptop")
    limits = [n for n in (training.samples if training else None, study.up_to) if n]
    return min(limits, default=0)


def _row(system: System, runs: Runs, shown: Sequence[int], told: str, planned: int) -> dict[str, str]:
    """The cells of a row, by the heads of their columns."""
    tested, last = runs.last, shown[-1]
    samples = sorted({n for n, _ in tested})
    unfinished = f" of {planned:,}" if samples[0] < planned else ""
    n_stages, n_tasks = min(len(stages) for _, stages in tested), len(tested[0][1][0]["tasks"])
    each = f"{tested[0][1][1]['adaptation_samples']:,}" if last > 0 and n_stages > 1 else ""
    low = _shown(estimate(worst(scores(tested, last)))) if last < n_stages and n_tasks > 1 else ""
    return {
        "": system.label,
        "told": told,
        "real samples": " to ".join(f"{n:,}" for n in dict.fromkeys((samples[0], samples[-1]))) + unfinished,
        "seeds": f"{len(tested)}{f' ({runs.diverged} diverged)' if runs.diverged else ''}",
        **{f"stage {i}": _shown(estimate(mean(scores(tested, i)))) if i < n_stages else "" for i in shown},
        "samples per stage": each,
        f"worst task, stage {last}": low,
    }


def _shown(value: Estimate) -> str:
    """A mean with its interval, or with the values of few seeds."""
    if value.interval is not None:
        return f"{value.value:.1f} ({value.interval[0]:.1f} to {value.interval[1]:.1f})"
    if len(value.by_seed) == 1:
        return f"{value.value:.1f}"
    return f"{value.value:.1f} ({' '.join(f'{x:.1f}' for x in value.by_seed)})"
