"""The demo: train on a few velocities, get policies for velocities never seen, show how they do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from onebody.algorithms.presets import preset
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.reports import charts, page, video
from onebody.runs import adapt, evaluate, folder, log, loop
from onebody.runs.adapt import AdaptedPolicy
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily

FAMILY, PRESET = "smt/cheetah-vel", "demo"
PRACTICE = {
    "omni": "each episode at another velocity. One policy for all velocities practised inside that learned model; for "
    "the {n} velocities below, which were not among them, it is asked, and nothing more",
    "smt": "at velocities drawn at random. Policies for the {n} velocities below, which were not among them, then "
    "practised inside that learned model alone",
}
"""by algorithm: where the samples were taken, and where the policies come from"""
TASKS = (0.4, 1.0, 1.6)
"""m/s; training draws its own tasks at random, so it meets these with probability zero"""
HEADER = ("task", "predicted\nreturn", "real return,\nzero samples", "real return,\nuntrained policy")


def demo(out: Path, quiet: bool = False, algorithm: str = "omni") -> None:
    """Train into `out` (or go on there), adapt, print a table, write `out/report.html`.

    Args:
        quiet: show no progress; the table is printed all the same.
        algorithm: `omni` or `smt`.

    Raises:
        OnebodyError: another algorithm, `out` holds something else, or what `train` and `adapt_many` raise. A machine
            that cannot render is no error: the report is written without pictures.
    """
    if algorithm not in PRACTICE:
        raise OnebodyError(f"the demo has no algorithm {algorithm!r}{did_you_mean(algorithm, PRACTICE)}")
    config = preset(algorithm, PRESET)
    run = loop.train(
        algorithm,
        FAMILY,
        config=config,
        preset=PRESET,
        seed=0,
        out=out,
        samples=None,
        evaluate_every=0,
        quiet=quiet,
    )
    family, rows = registry.make(FAMILY), log.read(run)
    console = Console()
    if not quiet:
        console.print("Adapting to three tasks it never saw, with no real sample of them …")
    adapted = adapt.adapt_many(run, list(TASKS), stages=0, extrapolate=False)
    _print_table(console, family, adapted)
    films = _films(console, family, adapted)
    report = write_report(run, family, rows, adapted, films)
    console.print(f"\nReport: {report}", soft_wrap=True, highlight=False)
    console.print(f"Next:   {next_command(run)}", soft_wrap=True, highlight=False)


def write_report(
    run: Path,
    family: TaskFamily,
    rows: Sequence[Mapping[str, Any]],
    adapted: Sequence[AdaptedPolicy],
    films: Sequence[bytes],
) -> Path:
    """`run/report.html`, from the lines of metrics, the adapted policies and a film of each (or none)."""
    config = folder.read_config(run)
    samples = int(rows[-1]["real/samples"]) if rows else 0
    practice = PRACTICE[config["algorithm"]].format(n=len(adapted))
    lead = (
        f"A simulated half-cheetah learned how its own body moves from {samples:,} real samples "
        f"({samples * family.body.dt:,.0f} s of motion), {practice}. "
        "This is one training with one seed, made small to be quick: it shows how things work, not how well they can."
    )
    results = page.table(HEADER, table_rows(adapted)) + page.paragraph(unit(family), "note")
    sections = [page.Section("Tasks it never saw", results)]
    if films:
        pictures = (
            (page.picture(film, f"the half-cheetah at task {task}"), f"told to run at {task}: real return {real}")
            for film, (task, _, real, _) in zip(films, table_rows(adapted), strict=True)
        )
        sections.append(page.Section("How they move", page.figures(*pictures)))
    curves = page.figures(
        (
            charts.svg(charts.learning_curve(rows)),
            "Each point is an iteration, on velocities drawn at random, some harder than others. Real: the episodes "
            "its samples come from, with exploration noise. Imagined: in the model, after more practice there.",
        ),
        (
            charts.svg(charts.model_error(rows)),
            "How wrong the model is on each iteration's new samples, before it learns from them.",
        ),
    )
    again = page.command(f"onebody demo --out {run}", next_command(run))
    made_with = {name: str(config[name]) for name in ("algorithm", "family", "preset", "seed")} | config["versions"]
    sections += [
        page.Section("Training", curves),
        page.Section("Do it again, or ask for another velocity", again),
        page.Section("Made with", page.facts(made_with)),
    ]
    return page.write(run / "report.html", "One body, many velocities", lead, sections)


def table_rows(adapted: Sequence[AdaptedPolicy]) -> list[tuple[str, str, str, str]]:
    """A row a task, in the order of HEADER."""
    return [
        (
            f"{float(each.task[0]):.1f} m/s",
            f"{each.predicted_return:.1f}",
            f"{each.real_return:.1f}",
            f"{each.untrained_return:.1f}",
        )
        for each in adapted
    ]


def unit(family: TaskFamily) -> str:
    """What the numbers of the table are."""
    return (
        f"Return over {family.horizon} steps of {family.body.dt:g} s; 0 is perfect. Reward a step: "
        f"{family.reward_text}. "
        f"Real: mean of {evaluate.EPISODES} episodes in the simulator. Predicted: in the learned model, beforehand."
    )


def next_command(run: Path) -> str:
    """What to try after the demo."""
    return f"onebody adapt {run} --task 1.3"


def _print_table(console: Console, family: TaskFamily, adapted: Sequence[AdaptedPolicy]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for i, name in enumerate(HEADER):
        table.add_column(name, justify="right" if i else "left")
    for row in table_rows(adapted):
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print(unit(family), markup=False, highlight=False)


def _films(console: Console, family: TaskFamily, adapted: Sequence[AdaptedPolicy]) -> list[bytes]:
    """One of each policy; none, and a line that says what to install, where the machine cannot render."""
    try:
        return [video.film(family, each.policies, each.task) for each in adapted]
    except OnebodyError as error:
        console.print(f"No pictures in the report: {error}", soft_wrap=True, markup=False, highlight=False)
        return []
