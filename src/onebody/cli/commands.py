"""The commands. Each is a dataclass of its options; calling an instance runs the command and prints the result.

Slow imports are made when a command is called, so that --help is quick.
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onebody.cli import listing as listings
from onebody.cli import options
from onebody.cli.compare import Compare, Report
from onebody.cli.export import Export
from onebody.cli.log import Log, names
from onebody.cli.options import Flag, Trust
from onebody.cli.play import Play
from onebody.cli.printing import cell, print_json, print_table
from onebody.cli.reproduce import Reproduce
from onebody.cli.tune import Tune
from onebody.core.errors import OnebodyError

if TYPE_CHECKING:
    from onebody.tasks.family import Reward, TaskFamily

Run = Annotated[Path, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class List:
    """List the algorithms and the task families, with their sources."""

    algorithms: Flag = False
    """Show only the algorithms"""
    families: Flag = False
    """Show only the task families"""
    json: Flag = False
    """Print the result as JSON"""

    def __call__(self) -> None:
        listing: dict[str, list[dict[str, Any]]] = {}
        if self.algorithms or not self.families:
            listing["algorithms"] = listings.algorithms()
        if self.families or not self.algorithms:
            listing["families"] = listings.families()
        if self.json:
            return print_json(listing)
        for row in listing.get("algorithms", []):
            print(f"{row['id']:<14} {row['kind']:<34}  {row['source']}")
        for source, rows in itertools.groupby(listing.get("families", []), lambda row: row["source"]):
            print(f"\n{source}")
            for row in rows:
                names = ", ".join([row["id"], *row["aliases"]])
                episode = f"{row['horizon_steps']} × {row['dt_seconds']:g} s"
                print(f"  {names:<42} {row['tasks']:<32} {episode:<16} {row['body']}")
        if "families" in listing:
            print("\nColumns: id, tasks ψ, episode, body. Complete definitions: docs/families.md, or list --json")


@dataclass(frozen=True)
class Train:
    """Train an algorithm on a task family and save the run in a folder; the same command again resumes it.
    `onebody train ALGORITHM FAMILY --help` also shows the algorithm's own options, --config.x.y.
    """

    algorithm: Annotated[str, tyro.conf.arg(metavar="ALGORITHM")]
    """Name of the algorithm; onebody list --algorithms shows all"""
    family: Annotated[str, tyro.conf.arg(metavar="FAMILY")]
    """Id or alias of the task family (onebody list --families shows all), or FILE.py:ID for a family that your Python
    file registers"""
    seed: int = 0
    """Random seed of the training run"""
    preset: str = "laptop"
    """Named set of hyperparameters: paper (as published; docs/presets.md lists the differences), laptop (learns within
    minutes on two CPU cores) or smoke (seconds, after compilation, to check that everything works). Some algorithms
    have others: tuned (oracle: our hyperparameters instead of the published ones), released (PEARL: later code of its
    authors), demo (omni and smt)"""
    samples: int | None = None
    """Number of real samples (environment steps) to train for, after which training ends; None: all iterations of the
    preset"""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Logs to learn from, instead of real samples: a file (.npz or .parquet), minari:ID or the folder of a Minari
    dataset; repeat the option for several. docs/logs.md has the formats. Add --config.real-episodes N (smt:
    --config.n-slbo N) for real episodes as well. Needs an algorithm that can learn from logs: omni, smt, me-trpo or
    mb-mpo"""
    randomize: str = ""
    """Domain randomisation: factors, drawn anew for each episode of training, of mass, friction, damping or motor of a
    MuJoCo robot, as QUANTITY=LOW:HIGH, several separated by commas (mass=0.8:1.2,friction=0.5:1.5). Policies and models
    are not told them; adaptation and evaluation are on the robot as it is"""
    out: Path | None = None
    """Folder of the run; None: runs/ALGORITHM-FAMILY-sSEED"""
    evaluate_every: int = 0
    """Number of training iterations between evaluations on the held-out tasks; 0: no evaluation during training"""
    log: str = ""
    """Loggers that get the metrics, too: tensorboard, wandb, mlflow, or several of them, separated by commas; empty:
    none. A resumed run keeps using its loggers"""
    json: Flag = False
    """Print the result as JSON"""
    quiet: Flag = False
    """Show no progress"""
    config: tyro.conf.Suppress[Any] = None
    """Hyperparameters of the algorithm, an instance of its Config"""

    def __call__(self) -> None:
        from onebody.runs import loop
        from onebody.tasks import randomized, registry

        options.check_order("train", self.family, [self.algorithm], family_first=False)
        family = registry.make(self.family).id
        run = loop.train(
            self.algorithm,
            family,
            config=self.config,
            data=self.data,
            randomize=randomized.parse(self.randomize) if self.randomize else None,
            seed=self.seed,
            out=self.out or Path("runs") / f"{self.algorithm}-{family.replace('/', '-')}-s{self.seed}",
            preset=self.preset,
            samples=self.samples,
            evaluate_every=self.evaluate_every,
            log_to=names(self.log),
            quiet=self.quiet,
        )
        _print_trained(run, self.json)


def with_config(arguments: Sequence[str]) -> type[Train]:
    """`Train` with the options of the algorithm that the arguments name; its preset's values are their defaults.

    Raises OnebodyError for an unknown algorithm or preset.
    """
    if all(argument.startswith("-") for argument in arguments):
        return Train  # --help, or too few arguments

    from onebody.algorithms import presets
    from onebody.runs import logged
    from onebody.tasks import registry

    flags = ("--json", "--quiet", "--help")
    positional = [  # arguments that are not the value of an option before them
        argument
        for before, argument in itertools.pairwise(["", *arguments])
        if before in flags or "=" in before or not before.startswith("--")
    ]
    name = next((argument for argument in positional if argument in presets.names()), None)
    if name is None:  # parsing finds the misspelt algorithm, or reports another mistake
        general = list(itertools.takewhile(lambda argument: not argument.startswith("--config"), arguments))
        name = options.parse(Train, "train", general).algorithm
    given = [
        argument.removeprefix("--preset=")
        for before, argument in itertools.pairwise(["", *arguments])
        if before == "--preset" or argument.startswith("--preset=")
    ]
    ids = {**{family: family for family in registry.families()}, **registry.aliases()}
    family = next((ids[argument] for argument in positional if argument in ids), "")
    config = presets.preset(name, given[-1] if given else Train.preset, family)
    if any(argument.split("=")[0] == "--data" for argument in arguments):
        config = logged.settings(name, config)
    field = ("config", type(config), dataclasses.field(default=config))
    return dataclasses.make_dataclass(
        "Train", [field], bases=(Train,), namespace={"__doc__": Train.__doc__}, frozen=True
    )


@dataclass(frozen=True)
class Resume:
    """Resume a training run that was stopped, from its newest undamaged checkpoint."""

    run: Run
    """Folder of the training run"""
    trust: Trust = False
    json: Flag = False
    """Print the result as JSON"""
    quiet: Flag = False
    """Show no progress"""

    def __call__(self) -> None:
        from onebody.runs import loop

        _print_trained(loop.resume(self.run, quiet=self.quiet, trust=self.trust), self.json)


@dataclass(frozen=True)
class Adapt:
    """Get a policy for each --task, or for your own --reward, with its predicted and its real return.

    What it achieves of the task is the mean over the second half of each real episode.
    """

    run: Run
    """Folder of the training run"""
    task: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Task ψ in the units of the family, as numbers separated by commas; repeat the option for several tasks"""
    reward: str | None = None
    """Reward to use instead of the family's: FILE.py:NAME, a jax.numpy function of (observation, action,
    next_observation, task), or an expression of the observation's labels such as 'velocity_x - 0.1 * abs(rooty)'; the
    message about a wrong name lists the right ones. Needs an algorithm that can optimise a policy inside its model,
    such as omni. Without --task, the optimisation starts from the policy for a held-out task that has the highest
    predicted return for this reward"""
    stages: int = 0
    """Number of adaptation stages that take real samples of the task; 0: none are taken (zero-shot)"""
    refine: float | None = None
    """Seconds of policy optimisation inside the model per task, without compilation; takes no real samples. Needs an
    algorithm that can do this, such as omni; None: 60 for a --reward without --stages, otherwise 0"""
    save: Path | None = None
    """File to save the policy to, .npz or .onnx; with several tasks, each task is appended to its file name"""
    video: Path | None = None
    """File to save a video of one episode to, .webp or .mp4; with several tasks, each task is appended to its file
    name"""
    extrapolate: Flag = False
    """Allow tasks outside the family's task space"""
    untrained: Flag = False
    """Also measure the return of a policy before any training, for comparison, in as many real episodes"""
    real_episodes: int | None = None
    """Number of real episodes that test each policy; None: 10, and 0 where there is only one environment, such as a
    robot, which is then not moved"""
    no_real: Flag = False
    """Test no policy in real episodes, as with --real-episodes 0"""
    trust: Trust = False
    json: Flag = False
    """Print the result as JSON"""

    def __call__(self) -> None:
        tasks = [options.task(text) for text in self.task] or None
        if repeated := [text for text in self.task if self.task.count(text) > 1]:
            raise OnebodyError(f"task {repeated[0]} is given twice")
        if self.no_real and self.real_episodes is not None:
            raise OnebodyError("give either --no-real or --real-episodes, not both")
        options.check_writable("save", self.save, ".npz", ".onnx")
        options.check_writable("video", self.video, ".webp", ".mp4")

        from onebody.reports import asked, video
        from onebody.runs import adapt, folder, log
        from onebody.tasks.limited import is_single

        if self.trust:
            folder.trust(self.run)
        family = folder.family_of(folder.read_config(self.run)).tested
        reward = None if self.reward is None else _reward(self.reward, family)
        if self.video:
            video.check(family.body)
        if self.stages and not self.save and is_single(family.body):
            print("onebody: the adapted policy will not be kept; to keep it, add --save FILE.npz", file=sys.stderr)

        with log.announce_if_slow("compiling, adapting and testing the policy", quiet=not sys.stderr.isatty()):
            policies = adapt.adapt_many(
                self.run,
                tasks,
                stages=self.stages,
                refine=self.refine,
                reward=reward,
                extrapolate=self.extrapolate,
                untrained=self.untrained,
                real_episodes=0 if self.no_real else self.real_episodes,
            )
        before = ["untrained_return"] if self.untrained else []
        columns = ("predicted_return", "predicted_interval", "real_return", *before, "adaptation_samples")
        only_in_json = ("refine_updates", "predicted_before", "warning")
        tasks = tasks or [policy.task.tolist() for policy in policies]
        rows: list[dict[str, Any]] = [
            {"task": task}
            | ({} if policy.achieved is None else {"achieved": asked.text(family, policy.achieved)})
            | {name: getattr(policy, name) for name in columns}
            for task, policy in zip(tasks, policies, strict=True)
        ]
        try:
            for row, policy in zip(rows, policies, strict=True):
                if self.save:
                    row["policy"] = str(policy.save(self._path(self.save, row["task"])))
                if self.video:
                    path = self._path(self.video, row["task"])
                    caption = "" if self.reward else asked.answer(family, policy.task, policy.achieved)
                    video.film(family, policy.policies, policy.task, path, caption)
                    row["video"] = str(path)
        finally:  # print the results even if saving or rendering fails
            if self.json:
                more = [
                    {"achieved": policy.achieved if policy.achieved is None else policy.achieved.tolist()}
                    | {name: getattr(policy, name) for name in only_in_json}
                    for policy in policies
                ]
                print_json([row | further for row, further in zip(rows, more, strict=True)])
            else:
                print_table(rows)
            for row, policy in zip(rows, policies, strict=True):
                reward = f"{self.reward}, starting from the policy of " if self.reward and policy.refine_updates else ""
                prefix = f"{reward}task {cell(row['task'])}: "
                if policy.refinement and not self.json:
                    print(prefix + policy.refinement)
                if policy.warning:
                    print(f"onebody: {prefix}{policy.warning}", file=sys.stderr)

    def _path(self, path: Path, task: list[float]) -> Path:
        name = ",".join(f"{number:g}" for number in task)
        return path if len(self.task) < 2 else path.with_stem(f"{path.stem}-{name}")


@dataclass(frozen=True)
class Evaluate:
    """Measure the returns of a run on held-out tasks, the same ones for every run, and write RUN/evaluation.json."""

    run: Run
    """Folder of the training run"""
    stages: int = 3
    """Number of adaptation stages after stage 0, which takes no real samples of a task"""
    tasks: int = 40
    """Number of held-out tasks"""
    grid: int = 0
    """Number of grid points per dimension, to test on a regular grid over the box of tasks, edges included, instead of
    held-out tasks; 0: held-out tasks"""
    beyond: float = 1.0
    """Width of the grid relative to the box of tasks; above 1, the grid includes tasks that training never samples"""
    trust: Trust = False
    json: Flag = False
    """Print the result as JSON"""
    quiet: Flag = False
    """Show no progress"""

    def __call__(self) -> None:
        from onebody.algorithms.protocol import KINDS
        from onebody.runs import evaluate, folder

        test = evaluate.MetaTest(self.tasks, self.stages, self.grid, self.beyond)
        result = evaluate.evaluate(self.run, test, self.quiet, trust=self.trust)
        family = folder.family_of(folder.read_config(self.run))
        if self.json:
            return print_json(result)
        kind = KINDS[result["told"]]
        print(f"{result['algorithm']} on {result['family']}, seed {result['seed']}, {kind}")
        samples = result["training_samples"]
        test_family = "" if result["tested_on"] == result["family"] else f" of {result['tested_on']}"
        tested = f"tested on {evaluate.tested(result, family)}{test_family}"
        print(f"after {samples:,} real samples of training, {tested}; 95% intervals over these tasks:")
        columns = ("stage", "adaptation_samples", "mean", "interval", "iqm", "worst")
        print_table([{name: stage[name] for name in columns} for stage in result["stages"]])
        print(evaluate.TOLD[result["told"]])


@dataclass(frozen=True)
class Demo:
    """Train on the half-cheetah for a few minutes, get policies for unseen tasks, and write a report."""

    out: Path = Path("runs/demo")
    """Folder for the run and its report"""
    algorithm: str = "omni"
    """Algorithm to train, omni or smt"""
    quiet: Flag = False
    """Show no progress"""

    def __call__(self) -> None:
        from onebody.reports import demo

        demo.demo(self.out, self.quiet, self.algorithm)


_KINDS = (List, Train, Resume, Adapt, Evaluate, Compare, Reproduce, Tune, Log, Report, Play, Export, Demo)
COMMANDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in _KINDS}


def _reward(text: str, family: "TaskFamily") -> "Reward":
    from onebody.tasks import expression, files

    if ".py:" in text:
        return files.function(text)
    try:
        return expression.parse(text, family)
    except OnebodyError as error:
        raise OnebodyError(
            f"{text} names no function of a file; write FILE.py:NAME, or an expression, which this is not: {error}"
        ) from None


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
