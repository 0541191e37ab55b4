"""The demo: trains on some velocities, gets policies for unseen velocities, and reports their returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from onebody.algorithms.presets import preset
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.reports import asked, charts, page, video
from onebody.runs import adapt, evaluate, folder, log, loop
from onebody.runs.adapt import AdaptedPolicy
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily

FAMILY, PRESET = "smt/cheetah-vel", "demo"
METHOD = {
    "omni": "each episode at another velocity. One policy for all velocities was then optimised inside this learned "
    "model. It acts at the {n} velocities below, which training never used, without further training",
    "smt": "at velocities sampled at random. Policies for the {n} velocities below, which training never used, were "
    "then optimised inside this learned model only",
}
"""by algorithm: at which velocities the samples were taken, and how the policies were obtained"""
TASKS = (0.4, 1.0, 1.6)
"""velocities (m/s); training samples its tasks from a continuous distribution, so it uses these with probability 0"""
HEADER = (
    "asked",
    "achieved",
    "predicted return\n(interval)",
    "real return,\nzero samples",
    "real return,\nuntrained policy",
)


def demo(out: Path, quiet: bool = False, algorithm: str = "omni") -> None:
    """Train in `out` (or resume there), adapt, print a table and write `out/report.html`.

    Args:
        quiet: show no progress; the table is printed anyway.
        algorithm: `omni` or `smt`.

    Raises:
        OnebodyError: another algorithm, `out` holds something else, or as `train` and `adapt_many`. On a machine that
            cannot render, the report is written without videos.
    """
    if algorithm not in METHOD:
        raise OnebodyError(f"the demo has no algorithm {algorithm!r}{did_you_mean(algorithm, METHOD)}")
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
        console.print("Adapting to three unseen tasks without real samples of them …")
    adapted = adapt.adapt_many(run, list(TASKS), untrained=True)
    _print_table(console, family, adapted)
    videos = _videos(console, family, adapted)
    report = write_report(run, family, rows, adapted, videos)
    console.print(f"\nReport: {report}", soft_wrap=True, highlight=False)
    console.print(f"Next:   {next_command(run)}", soft_wrap=True, highlight=False)


def write_report(
    run: Path,
    family: TaskFamily,
    rows: Sequence[Mapping[str, Any]],
    adapted: Sequence[AdaptedPolicy],
    videos: Sequence[bytes],
) -> Path:
    """Write `run/report.html` from the rows of metrics, the adapted policies and a video of each (or none)."""
    config = folder.read_config(run)
    samples = int(rows[-1]["real/samples"]) if rows else 0
    method = METHOD[config["algorithm"]].format(n=len(adapted))
    lead = (
        f"A model of a simulated half-cheetah was learned from {samples:,} real samples "
        f"({samples * family.body.dt:,.0f} s of motion), {method}. "
        "This is one short training run with one seed: it shows how the method works, not how well it can perform."
    )
    results = page.table(HEADER, table_rows(family, adapted)) + page.paragraph(unit(family), "note")
    sections = [page.Section("Unseen tasks", results)]
    if videos:
        captions = [asked.answer(family, each.task, each.achieved) for each in adapted]
        pictures = (
            (page.picture(data, f"the half-cheetah: {text}"), f"{text}; real return {each.real_return:.1f}")
            for data, text, each in zip(videos, captions, adapted, strict=True)
        )
        sections.append(page.Section("Videos", page.figures(*pictures)))
    curves = page.figures(
        (
            charts.svg(charts.learning_curve(rows)),
            "Each point is one iteration at random velocities, some of which are harder than others. Real: the "
            "episodes of its samples, with exploration noise. Imagined: in the model, after more policy optimisation.",
        ),
        (
            charts.svg(charts.model_error(rows)),
            "Error of the model on the new samples of each iteration, before it is trained on them.",
        ),
    )
    commands = page.command(f"onebody demo --out {run}", next_command(run))
    settings = {name: str(config[name]) for name in ("algorithm", "family", "preset", "seed")} | config["versions"]
    sections += [
        page.Section("Training", curves),
        page.Section("Repeat it, or adapt to another velocity", commands),
        page.Section("Settings and versions", page.facts(settings)),
    ]
    return page.write(run / "report.html", "One body, many velocities", lead, sections)


def table_rows(family: TaskFamily, adapted: Sequence[AdaptedPolicy]) -> list[tuple[str, ...]]:
    """One row per task, with the columns of HEADER."""
    return [
        (
            asked.text(family, each.task),
            "–" if each.achieved is None else asked.text(family, each.achieved),
            f"{each.predicted_return:.1f}"
            + (" ({:.1f} to {:.1f})".format(*each.predicted_interval) if each.predicted_interval else ""),
            f"{each.real_return:.1f}",
            f"{each.untrained_return:.1f}",
        )
        for each in adapted
    ]


def unit(family: TaskFamily) -> str:
    """Explains the numbers of the table."""
    return (
        f"Return over {family.horizon} steps of {family.body.dt:g} s; 0 is perfect. Reward per step: "
        f"{family.reward_text}. "
        f"Real: mean of {evaluate.EPISODES} episodes in the simulator. Predicted: in the learned model, before these. "
        f"{asked.AVERAGED}"
    )


def next_command(run: Path) -> str:
    """A command to try after the demo."""
    return f"onebody adapt {run} --task 1.3"


def _print_table(console: Console, family: TaskFamily, adapted: Sequence[AdaptedPolicy]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for i, name in enumerate(HEADER):
        table.add_column(name, justify="right" if i else "left")
    for row in table_rows(family, adapted):
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print(unit(family), markup=False, highlight=False)


def _videos(console: Console, family: TaskFamily, adapted: Sequence[AdaptedPolicy]) -> list[bytes]:
    """A video per policy; if the machine cannot render, none, and a line that says what to install."""
    try:
        return [
            video.film(family, each.policies, each.task, None, asked.answer(family, each.task, each.achieved))
            for each in adapted
        ]
    except OnebodyError as error:
        console.print(f"No videos in the report: {error}", soft_wrap=True, markup=False, highlight=False)
        return []
