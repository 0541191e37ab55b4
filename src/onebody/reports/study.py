"""The page of one or more studies, from the raw results in their folders: figure (SVG and PNG), tables and commands."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

from onebody.reports.markdown import plain
from onebody.reports.study_charts import draw
from onebody.reports.study_runs import Trained
from onebody.reports.study_table import table
from onebody.runs import folder, studies
from onebody.runs.statistics import FEWEST

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
"""what stands between these lines of a README is replaced"""
OURS = ("onebody", "ours")
"""papers of studies that examine no publication"""


def write(name: str, each: Sequence[Trained], out: Path) -> dict[str, Path]:
    """Write the figure of one or more studies as SVG and PNG and a page, all called `name`; paths by kind.

    The page is `README.md` if there is none yet, or if it has the lines BEGIN and END: what stands between them is
    replaced.

    Args:
        each: the studies with their runs.
        out: folder of the figure and the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    figure, name = draw(each), studies.file_name(name)
    paths = {kind: out / f"{name}.{kind}" for kind in ("svg", "png")}
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(paths["svg"], metadata={"Date": None})
    figure.savefig(paths["png"], dpi=150)
    title = f"# {plain(name)}: {plain(each[0].study.title if len(each) == 1 else each[0].study.paper)}"
    readme = out / "README.md"
    text = readme.read_text() if readme.exists() else f"{title}\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        readme, before, after = out / f"{name}.md", f"{title}\n\n", "\n"
    readme.write_text(f"{before}{BEGIN}\n{page(each, paths['svg'].name)}\n{END}{after}")
    return {**paths, "page": readme}


def page(each: Sequence[Trained], figure: str) -> str:
    """Figure, tables and sources, in Markdown."""
    lines = [f"![figure]({figure})"]
    lines += [
        f"Claim under test{'' if s.paper in OURS else f' ({plain(s.paper)})'}: {plain(s.claim)}"
        for s in {one.study.claim: one.study for one in each if one.study.claim}.values()
    ]
    for trained in each:
        study = trained.study
        if len(each) > 1:
            lines.append(f"### {plain(study.name)}: {plain(study.title)}")
        lines.append(table(trained))
        if study.published:
            lines.append("\n".join(f"* {plain(each.label)}: {plain(each.source)}" for each in study.published))
    if any(line.startswith("|") for line in lines):
        lines.append(brackets())
    commands = dict.fromkeys(line for trained in each for line in settings(trained))
    lines.append(
        "Commands that train these systems with this version of onebody; the settings and the version of each run that "
        "is shown are in its `config.json`:"
    )
    return "\n\n".join([*filter(None, lines), "\n".join(commands)])


def brackets() -> str:
    """What the brackets of a table and the bands of a figure are."""
    return (
        "Mean return over the tested tasks, then over seeds; worst task: the lowest mean return of any task of each "
        f"seed. Brackets and bands: the 95% interval of the mean over {FEWEST} or more seeds, or the values of fewer."
    )


def settings(trained: Trained) -> Iterator[str]:
    """A line for each system on how to train its runs: the command of one of them, or the study's own command if an
    older version made it, whose options may have had other names."""
    study = trained.study
    for system in study.systems:
        for path in trained.runs[system.name].paths[:1]:
            record = folder.read_config(path)
            command, older, _ = folder.command(record).partition("  #")
            if older and "laptop" in studies.owner_of(study, system)[1].trainings:
                job = studies.job_of(study, system, trained.out, "laptop", record["seed"]).to_json()
                command, *_ = folder.command({**record, **job, "family_file": None}).partition("  #")
            yield f"* {plain(system.label)}: `{command}`"
