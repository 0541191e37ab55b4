"""The commands. Each is a dataclass of its options, and is called to do its work and print the result.

What is slow to import is imported when a command is called, so that --help is quick.
"""

import dataclasses
import importlib.util
import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from onebody.cli import options
from onebody.cli.compare import Compare, Report
from onebody.cli.options import Flag
from onebody.cli.printing import cell, print_json, print_table
from onebody.core.errors import OnebodyError

Run = Annotated[Path, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class List:
    """Show the algorithms and the task families, with their sources."""

    algorithms: Flag = False
    """only the algorithms"""
    families: Flag = False
    """only the families"""
    json: Flag = False
    """print JSON"""

    def __call__(self) -> None:
        from onebody.algorithms import presets
        from onebody.tasks import registry

        found: dict[str, list[dict[str, Any]]] = {}
        if self.algorithms or not self.families:
            found["algorithms"] = []
            for name in presets.names():
                try:
                    kind = presets.algorithm(name)
                except OnebodyError as error:  # of another package; the others are listed
                    print(f"onebody: {error}", file=sys.stderr)
                else:
                    row = {"id": name, "task_is_known": kind.task_is_known, "source": _source(kind)}
                    found["algorithms"].append(row)
        if self.families or not self.algorithms:
            aliases = registry.aliases()
            found["families"] = [
                {**family.describe(), "aliases": [short for short, name in aliases.items() if name == family.id]}
                for family in registry.families().values()
            ]
        if self.json:
            return print_json(found)
        for row in found.get("algorithms", []):
            print(f"{row['id']:<14} {'known task ' if row['task_is_known'] else 'hidden task'}  {row['source']}")
        for source, rows in itertools.groupby(found.get("families", []), lambda row: row["source"]):
            print(f"\n{source}")
            for row in rows:
                name, episode = (
                    ", ".join([row["id"], *row["aliases"]]),
                    f"{row['horizon_steps']} × {row['dt_seconds']:g} s",
                )
                print(f"  {name:<42} {row['tasks']:<32} {episode:<16} {row['body']}")
        if "families" in found:
            print("\nid, tasks ψ, episode, body; all else that defines them: docs/families.md, or --json")


@dataclass(frozen=True)
class Train:
    """Train an algorithm on a task family, into a run folder. The same command again goes on where it stopped.
    `onebody train ALGORITHM FAMILY --help` also shows the algorithm's own options, --config.x.y.
    """

    algorithm: Annotated[str, tyro.conf.arg(metavar="ALGORITHM")]
    """onebody list --algorithms"""
    family: Annotated[str, tyro.conf.arg(metavar="FAMILY")]
    """onebody list --families; or FILE.py:ID, a family that a Python file of yours registers"""
    seed: int = 0
    """Random seed"""
    preset: str = "laptop"
    """paper (as published; docs/presets.md lists what differs), laptop (learns something real on two cores in minutes)
    or smoke (seconds); also tuned (the oracle: ours, in place of the published recipe), released (PEARL: later code of
    its authors), demo (omni and smt)"""
    samples: int | None = None
    """end at the first iteration that reaches this many real samples; None: at the end of the preset"""
    out: Path | None = None
    """run folder; None: runs/ALGORITHM-FAMILY-sSEED"""
    evaluate_every: int = 0
    """iterations between evaluations on the held-out tasks; 0: none while training"""
    json: Flag = False
    """print JSON"""
    quiet: Flag = False
    """show no progress"""
    config: tyro.conf.Suppress[Any] = None
    """the algorithm's Config"""

    def __call__(self) -> None:
        from onebody.runs import loop
        from onebody.tasks import registry

        family = registry.make(self.family).id
        run = loop.train(
            self.algorithm,
            family,
            config=self.config,
            seed=self.seed,
            out=self.out or Path("runs") / f"{self.algorithm}-{family.replace('/', '-')}-s{self.seed}",
            preset=self.preset,
            samples=self.samples,
            evaluate_every=self.evaluate_every,
            quiet=self.quiet,
        )
        _print_trained(run, self.json)


def with_config(arguments: Sequence[str]) -> type[Train]:
    """`Train` with the options of the algorithm that is named in the arguments, and its preset's values as defaults.

    Raises OnebodyError for an unknown algorithm or preset.
    """
    if all(argument.startswith("-") for argument in arguments):
        return Train  # --help, or too few arguments

    from onebody.algorithms import presets
    from onebody.tasks import registry

    flags = ("--json", "--quiet", "--help")
    typed = [  # not after an option, whose value it would be
        argument
        for before, argument in itertools.pairwise(["", *arguments])
        if before in flags or "=" in before or not before.startswith("--")
    ]
    name = next((argument for argument in typed if argument in presets.names()), None)
    if name is None:  # says which of the arguments is the algorithm, or what else is wrong
        general = list(itertools.takewhile(lambda argument: not argument.startswith("--config"), arguments))
        name = options.parse(Train, "train", general).algorithm
    chosen = re.findall(r"--preset[ =](\S+)", " ".join(arguments))
    ids = {**{family: family for family in registry.families()}, **registry.aliases()}
    family = next((ids[argument] for argument in typed if argument in ids), "")
    config = presets.preset(name, chosen[-1] if chosen else Train.preset, family)
    field = ("config", type(config), dataclasses.field(default=config))
    return dataclasses.make_dataclass(
        "Train", [field], bases=(Train,), namespace={"__doc__": Train.__doc__}, frozen=True
    )


@dataclass(frozen=True)
class Resume:
    """Go on with a training that was stopped, from its newest whole checkpoint."""

    run: Run
    """folder of the training"""
    json: Flag = False
    """print JSON"""
    quiet: Flag = False
    """show no progress"""

    def __call__(self) -> None:
        from onebody.runs import loop

        _print_trained(loop.resume(self.run, quiet=self.quiet), self.json)


@dataclass(frozen=True)
class Adapt:
    """Get a policy for each --task or your own --reward from a trained run, with its predicted and its real return."""

    run: Run
    """folder of the training"""
    task: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """the task ψ in the family's units, numbers separated by commas where it has several; may be given again"""
    reward: str | None = None
    """FILE.py:NAME, a jax.numpy function of (observation, action, next_observation, task) in place of the family's
    reward (omni); without --task, practice begins with the policy, of those for held-out tasks, that has the highest
    predicted return for it"""
    stages: int = 0
    """stages of adaptation with real samples of the task; 0: without any"""
    refine: float | None = None
    """seconds of practice inside the model for each task alone, without a real sample and after compilation (omni);
    None: 60 for a --reward without --stages, else 0"""
    save: Path | None = None
    """write the policy as .npz or .onnx; with several tasks, each file name gets its task appended"""
    video: Path | None = None
    """film an episode as .webp or .mp4; with several tasks, each file name gets its task appended"""
    extrapolate: Flag = False
    """allow a task outside the family's space"""
    json: Flag = False
    """print JSON"""

    def __call__(self) -> None:
        tasks = [_task(text) for text in self.task] or None
        if repeated := [text for text in self.task if self.task.count(text) > 1]:
            raise OnebodyError(f"task {repeated[0]} is given twice")
        _writable("save", self.save, ".npz", ".onnx")
        _writable("video", self.video, ".webp", ".mp4")

        from onebody.runs import adapt, folder
        from onebody.tasks import files

        reward = None if self.reward is None else files.function(self.reward)
        family = folder.family_of(folder.read_config(self.run)).tested
        if self.video:
            from onebody.worlds.camera import check_drawable

            check_drawable(family.body)

        found = adapt.adapt_many(
            self.run, tasks, stages=self.stages, refine=self.refine, reward=reward, extrapolate=self.extrapolate
        )
        shown = ("predicted_return", "predicted_interval", "real_return", "untrained_return", "adaptation_samples")
        in_json = ("refine_updates", "predicted_before", "warning")
        tasks = tasks or [policy.task.tolist() for policy in found]
        rows = [
            {"task": task} | {name: getattr(policy, name) for name in shown}
            for task, policy in zip(tasks, found, strict=True)
        ]
        try:
            for row, policy in zip(rows, found, strict=True):
                if self.save:
                    row["policy"] = str(policy.save(self._named(self.save, row["task"])))
                if self.video:
                    from onebody.reports import video

                    path = self._named(self.video, row["task"])
                    video.film(family, policy.policies, policy.task, path)
                    row["video"] = str(path)
        finally:  # what was found is shown, even if the machine cannot film it
            more = [{name: getattr(policy, name) for name in in_json} for policy in found]
            print_json([row | said for row, said in zip(rows, more, strict=True)]) if self.json else print_table(rows)
            for row, policy in zip(rows, found, strict=True):
                begun = f"{self.reward}, beginning with the policy of " if self.reward and policy.refine_updates else ""
                about = f"{begun}task {cell(row['task'])}: "
                if policy.practice and not self.json:
                    print(about + policy.practice)
                if policy.warning:
                    print(f"onebody: {about}{policy.warning}", file=sys.stderr)

    def _named(self, path: Path, task: list[float]) -> Path:
        name = ",".join(f"{number:g}" for number in task)
        return path if len(self.task) < 2 else path.with_stem(f"{path.stem}-{name}")


@dataclass(frozen=True)
class Evaluate:
    """Measure a run on held-out tasks, the same for every algorithm and seed; also writes RUN/evaluation.json."""

    run: Run
    """folder of the training"""
    stages: int = 3
    """stages of adaptation after stage 0, which has no real sample of a task"""
    tasks: int = 40
    """number of held-out tasks"""
    grid: int = 0
    """in place of held-out tasks, a grid of so many a side over the box of tasks, its edges included"""
    beyond: float = 1.0
    """how many times as wide as the box of tasks the grid is: above 1 it has tasks that training never draws"""
    json: Flag = False
    """print JSON"""

    def __call__(self) -> None:
        from onebody.runs import evaluate, folder

        test = evaluate.MetaTest(self.tasks, self.stages, self.grid, self.beyond)
        result = evaluate.evaluate(self.run, test)
        family = folder.family_of(folder.read_config(self.run))
        if self.json:
            return print_json(result)
        known = "known task" if result["task_is_known"] else "hidden task"
        print(f"{result['algorithm']} on {result['family']}, seed {result['seed']}, {known}")
        samples = result["training_samples"]
        where = "" if result["tested_on"] == result["family"] else f" of {result['tested_on']}"
        tested = f"tested on {evaluate.tested(result, family)}{where}"
        print(f"after {samples:,} real samples of training, {tested}; 95% intervals over these tasks:")
        columns = ("stage", "adaptation_samples", "mean", "interval", "iqm", "worst")
        print_table([{name: stage[name] for name in columns} for stage in result["stages"]])
        print(evaluate.told(result["task_is_known"]))


@dataclass(frozen=True)
class Demo:
    """Train on the half-cheetah in minutes, get policies for tasks it never saw, and write a report."""

    out: Path = Path("runs/demo")
    """folder for the run and its report"""
    algorithm: str = "omni"
    """omni or smt"""
    quiet: Flag = False
    """show no progress"""

    def __call__(self) -> None:
        from onebody.reports import demo

        demo.demo(self.out, self.quiet, self.algorithm)


COMMANDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (List, Train, Resume, Adapt, Evaluate, Compare, Report, Demo)
}


def _task(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OnebodyError(f"--task {text} must be a number, or numbers separated by commas") from None


def _writable(option: str, path: Path | None, *suffixes: str) -> None:
    if path is not None and path.suffix not in suffixes:
        raise OnebodyError(f"--{option} {path} must end in {' or '.join(suffixes)}")
    if path is not None and not path.absolute().parent.is_dir():
        raise OnebodyError(f"--{option} {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise OnebodyError(f"--{option} {path} is a folder; give the name of a file")
    for suffix, package, extra, other in (
        (".mp4", "imageio_ffmpeg", "video", ".webp"),
        (".onnx", "onnx", "onnx", ".npz"),
    ):
        if path is not None and path.suffix == suffix and importlib.util.find_spec(package) is None:
            raise OnebodyError(f"--{option} {path} needs: pip install 'onebody[{extra}]'; {other} needs nothing more")


def _source(kind: type) -> str:
    """The first line of the algorithm's file: its name and paper."""
    return str(sys.modules[kind.__module__].__doc__).splitlines()[0]


def _print_trained(run: Path, json: bool) -> None:
    if not json:
        from onebody.algorithms import presets
        from onebody.runs import folder

        record = folder.read_config(run)
        task = " --task …" if folder.family_of(record).space.size else ""
        if task and not presets.algorithm(record["algorithm"]).task_is_known:
            task += " --stages 2"
        return print(f"trained: {run}\nnext: onebody adapt {run}{task}  or  onebody evaluate {run}")

    from onebody.runs import log

    print_json({"run": str(run)} | {key: value for last in log.read(run)[-1:] for key, value in last.items()})
