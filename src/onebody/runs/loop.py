"""The one outer loop: step, evaluate, log, checkpoint. A stopped training run is resumed where it stopped."""

import dataclasses
import math
import signal
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp

from onebody.algorithms import presets
from onebody.algorithms.protocol import Algorithm, Metrics
from onebody.core.errors import BodyFailed, NotFinite, OnebodyError, Stopped, real, whole
from onebody.core.types import Key
from onebody.runs import (
    checkpoint,
    configs,
    consent,
    evaluate,
    folder,
    interrupt,
    journal,
    log,
    log_feed,
    logged,
    loggers,
    watch,
)
from onebody.runs.evaluate import MetaTest
from onebody.tasks import randomized, registry
from onebody.tasks.family import TaskFamily
from onebody.worlds import robot
from onebody.worlds.refusals import refuse_single

COUNTS = ("samples", "episodes", "cut")
"""counters of the simulator that are saved in a checkpoint"""


class _Signal(BaseException):
    """Raised by a signal while the current iteration may be discarded."""


def train(
    algorithm: str,
    family: str | TaskFamily,
    *,
    out: Path | str,
    seed: SupportsIndex = 0,
    preset: str = "laptop",
    config: Any = None,
    data: Sequence[Path | str] | Path | str = (),
    samples: SupportsIndex | None = None,
    evaluate_every: SupportsIndex = 0,
    test: MetaTest = evaluate.HELD_OUT,
    log_to: Sequence[str] = (),
    randomize: randomized.Ranges | None = None,
    quiet: bool = False,
    wait: float = 0.0,
) -> Path:
    """Train in the folder `out`; resumes the run in it if it has the same configuration.

    Args:
        algorithm: its name, as `onebody list` shows it.
        family: a registered family, its id or alias, or `FILE.py:ID` of a file that registers it.
        out: the run folder, made if it does not exist.
        seed: random seed of the training run.
        preset: name of the settings that `config` has by default.
        config: the algorithm's `Config`, by default that of `onebody.preset`.
        data: logs to learn from: files (.npz, .parquet), "minari:ID", or folders of Minari datasets, as in
            docs/logs.md. Training then takes no real samples, unless a given `config` asks for them; its
            `logged_transitions` is the largest number of transitions that are kept.
        samples: number of real samples to train for, reached at the end of an iteration; None: all iterations.
        evaluate_every: number of iterations between evaluations; 0: none.
        test: whose tasks these evaluations are on.
        log_to: loggers that get the metrics, too: "tensorboard", "wandb", "mlflow". A logger that fails does not stop
            training, and a resumed run goes on with those that it has.
        randomize: smallest and largest factor of `mass`, `friction`, `damping` or `motor` of the robot, drawn for each
            episode of training and unknown to policies and models, as in {"mass": (0.8, 1.2)}; adaptation and
            evaluation are on the robot as it is. Only for MuJoCo robots.
        wait: time (s) to wait for another process that is training in the folder.

    Returns:
        The run folder.

    Raises:
        OnebodyError: an unknown name, a `config` of another algorithm, a folder that holds something else, a value that
            is not finite, an environment that fails, or a full disk.
        Stopped: SIGINT or SIGTERM; the run can be resumed.
    """
    registered = registry.make(family.id if isinstance(family, TaskFamily) else family)
    if isinstance(family, TaskFamily) and family is not registered:
        raise OnebodyError(f"this {family.id} is not the registered family: call onebody.register first")
    if file := registry.file_of(registered):
        consent.give(Path(file))
    if randomize is not None:
        randomized.randomized(registered, randomize)
    seed, evaluate_every = whole("--seed", seed), whole("--evaluate-every", evaluate_every)
    samples = None if samples is None else whole("--samples", samples)
    evaluate.check_test(test)
    if not (wait := real("wait", wait)) >= 0:
        raise OnebodyError(f"wait must be at least 0 seconds, not {wait}")
    if samples is not None and samples < 0:
        raise OnebodyError(f"--samples must be at least 0, not {samples}")
    if evaluate_every < 0:
        raise OnebodyError(f"--evaluate-every must be at least 0, not {evaluate_every}")
    if evaluate_every:
        refuse_single(registered, "--evaluate-every", "test it after training: onebody adapt RUN --real-episodes N")
    if not 0 <= seed < 2**32:
        raise OnebodyError(f"--seed must be at least 0 and below 2**32, not {seed}")
    if config is None:
        config = presets.preset(algorithm, preset, registered)
        config = logged.settings(algorithm, config) if data else config
    if type(config) is not (expected := typing.get_type_hints(presets.algorithm(algorithm))["config"]):
        raise OnebodyError(
            f"config must be {expected.__module__}.{expected.__name__}, not {type(config).__module__}."
            f"{type(config).__name__}; to change single settings: "
            f"dataclasses.replace(onebody.preset({algorithm!r}, {preset!r}, {registered.id!r}), ...)"
        )
    logs = None
    if sources := [str(each) for each in ([data] if isinstance(data, Path | str) else data)]:
        limit = logged.limit(algorithm, config)
        with log.announce_if_slow("reading logs", quiet):
            logs = logged.read(sources, registered, limit, seed)
        config = dataclasses.replace(config, logged_transitions=min(limit, logs.total))
        if samples is not None and logged.takes_no_real_samples(algorithm, config):
            raise OnebodyError("a run that learns from logs alone takes no real samples: leave --samples out")
    elif getattr(config, "logged_transitions", 0):
        raise OnebodyError("logged_transitions needs logs to learn from: give them as data (--data)")
    record = {
        "algorithm": algorithm,
        "family": registered.id,
        "family_version": registered.version,
        "family_file": registry.file_of(registered),
        "seed": seed,
        "preset": preset,
        "config": configs.to_json(config),
        "samples": samples,
        "evaluate_every": evaluate_every,
        "data": logs and logs.sources,
        "versions": folder.versions(),
    }
    if randomize:
        record["randomize"] = {name: [float(low), float(high)] for name, (low, high) in randomize.items()}
    loggers.check(log_to, "--log")
    built = folder.build(record)
    state = _initial_state(record, built, quiet)
    run = Path(out)
    with folder.locked(run, wait) as confirm, robot.released():
        record, last_checkpoint = folder.claim(run, record, state)
        if logs and last_checkpoint is None:
            logged.report(logs, registered, quiet)
            state = logged.begin(built, state, logs)
        with _signals(run) as uninterrupted:
            _run(run, record, built, state, last_checkpoint, confirm, uninterrupted, test, log_to, quiet)
    return run


def resume(run: Path | str, *, quiet: bool = False, trust: bool = False) -> Path:
    """Resume a run and train to its end; the final state is byte for byte the same as without the interruption.

    `trust`: consent to running the file that registers the run's family, as `folder.trust`.

    Raises: as `train`.
    """
    run = Path(run)
    if trust:
        folder.trust(run)
    record = folder.read_config(run)
    algorithm = folder.build(record)
    with folder.locked(run) as confirm, robot.released():
        last_checkpoint = folder.latest(run, record, folder.structure(record))
        if last_checkpoint is None and record.get("data"):
            raise OnebodyError(f"{run} has no checkpoint with its logs yet; start it with: {folder.command(record)}")
        state = None if last_checkpoint else _initial_state(record, algorithm, quiet)
        with _signals(run) as uninterrupted:
            _run(run, record, algorithm, state, last_checkpoint, confirm, uninterrupted, evaluate.HELD_OUT, (), quiet)
    return run


def _initial_state(record: dict[str, Any], algorithm: Algorithm[Any], quiet: bool) -> Any:
    with log.announce_if_slow(f"compiling {record['algorithm']} for {record['family']}", quiet):
        return folder.initial_state(record, algorithm)


def _facts(record: dict[str, Any], algorithm: Algorithm[Any]) -> dict[str, Any]:
    """What a checkpoint holds besides the state."""
    counts = {name: getattr(algorithm.simulator, name) for name in COUNTS}
    return counts | {"identity": folder.identity(record)}


def _run(
    run: Path,
    record: dict[str, Any],
    algorithm: Algorithm[Any],
    state: Any,
    last_checkpoint: checkpoint.Checkpoint | None,
    confirm: Callable[[], None],
    uninterrupted: Callable[[], AbstractContextManager[None]],
    test: MetaTest,
    log_to: Sequence[str],
    quiet: bool,
) -> None:
    """`state`: the one before training, for a run without a checkpoint; `confirm` raises OnebodyError if another
    process has taken the folder over; `uninterrupted`: see `_signals`."""
    confirm()
    folder.note_other_versions(record)
    done, every = 0, record["evaluate_every"]
    if last_checkpoint:
        folder.check_fields(record, algorithm)
        checkpoint.remove_leftovers(run, last_checkpoint)
        state, done = last_checkpoint.state, last_checkpoint.iteration
        for name in COUNTS:
            setattr(algorithm.simulator, name, last_checkpoint.facts.get(name, 0))
    else:
        if algorithm.simulator.robot is not None and not record.get("data"):  # its initial states are taken only now
            with _named("the resets for the initial states", run, None):
                state = algorithm.init(jax.random.fold_in(jax.random.key(record["seed"]), 0))
        checkpoint.save(run, 0, state, _facts(record, algorithm))
    log.truncate(run, done)
    history, model_is_off, cut = log.read(run), "", watch.cut(algorithm.simulator)
    if len(history) < done:
        _warn(run, f"{log.METRICS} has only {len(history)} of the {done} lines before iteration {done + 1}")

    limit = math.inf if record["samples"] is None else record["samples"]
    if done >= algorithm.config.n_iterations or algorithm.simulator.samples >= limit:
        return None if quiet else print(f"{run} is complete: iteration {done}", file=sys.stderr)
    label = f"{record['algorithm']} on {record['family']}, seed {record['seed']}, in {run}"
    progress = log.Progress(algorithm.config.n_iterations, "iteration", label, start=done, quiet=quiet)
    feed = log_feed.following(run, record, log_to, history, quiet)
    kept = journal.kept(run, algorithm.simulator, done + 1)
    with log.Log(run) as lines, feed as logged, progress, kept as begin_journal:
        if every and done == 0:
            with _named("the evaluation before training", run, 0):
                evaluate.during_training(run, record, algorithm, state, 0, test)
        while done < algorithm.config.n_iterations and algorithm.simulator.samples < limit:
            began = time.perf_counter()
            key = jax.random.fold_in(jax.random.key(record["seed"]), done + 1)
            with _named(f"iteration {done + 1}", run, done):
                state, metrics = _step(algorithm, state, key)
            done, samples = done + 1, algorithm.simulator.samples
            metrics = {
                "real/samples": samples,
                **metrics,
                **_timing(algorithm),
                "time/step": time.perf_counter() - began,
            }
            if every and done % every == 0:
                with _named(f"the evaluation after iteration {done}", run, done - 1):
                    evaluate.during_training(run, record, algorithm, state, done, test)
            with uninterrupted():
                confirm()
                line = lines.write(done, metrics)
                checkpoint.save(run, done, state, _facts(record, algorithm))
                begin_journal(done + 1)
                logged(line)
            history.append(metrics)
            if done == 1:
                _warn(run, watch.constant(state, algorithm.family))
            if not cut:
                _warn(run, cut := watch.cut(algorithm.simulator))
            if not model_is_off:
                _warn(run, model_is_off := watch.model_is_off(history))
            of_limit = f"/{limit:,}" if limit < math.inf else ""
            kind = "real/return" if "real/return" in metrics else "imagined/return"
            named = "return" if kind == "real/return" else "imagined return"
            text = f"{samples:,}{of_limit} samples · {named} {metrics[kind]:.1f}"
            text += f" · late steps: {late:,}" if (late := metrics.get("real/late")) else ""
            progress.update(done, text, last=_last(done, algorithm.config.n_iterations, samples, limit))
    if (samples := algorithm.simulator.samples) < limit < math.inf:
        print(
            f"onebody: {run} ended at {samples:,} of {limit:,} real samples, after all of its {done} iterations; "
            "start a new run with more iterations to reach them",
            file=sys.stderr,
        )


def _timing(algorithm: Algorithm[Any]) -> dict[str, float | int]:
    """The metrics of a robot's steps since the last call; empty for any other body."""
    if (engine := algorithm.simulator.robot) is None:
        return {}
    timing, engine.timing = engine.timing, robot.Timing()
    return timing.metrics(engine.body.real_time)


def _last(done: int, n_iterations: int, samples: int, limit: int | float) -> int:
    """Expected last iteration, if further ones take as many samples on average as those so far."""
    return done + math.ceil(min(n_iterations - done, max(0, limit - samples) * done / max(samples, 1)))


def _warn(run: Path, message: str) -> None:
    if message:
        print(f"onebody: {run}: {message}", file=sys.stderr)


@contextmanager
def _named(part: str, run: Path, saved: int | None) -> Iterator[None]:
    """NotFinite and BodyFailed say in which part of training they were raised; `saved`: last iteration with a
    checkpoint, if there is one."""
    place = f"in {part}"
    if saved is not None:
        place += f"; the last good checkpoint is {run / 'checkpoints' / f'{saved:06d}'}"
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{error} {place}") from error
    except BodyFailed as error:
        raise BodyFailed(f"{error}, {place}; go on with: onebody resume {run}") from error


def _step(algorithm: Algorithm[Any], state: Any, key: Key) -> tuple[Any, Metrics]:
    """One iteration. Raises NotFinite for a value that is not finite, so that no checkpoint ever holds one."""
    before = algorithm.simulator.samples
    state, metrics = algorithm.step(state, key)
    if "real/return" not in metrics and (algorithm.simulator.samples > before or "imagined/return" not in metrics):
        raise OnebodyError(
            f"{type(algorithm).__name__}.step gives no metric real/return, the mean return of its real episodes"
        )
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NotFinite(f"{algorithm.family.id}: {name} is {value}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(state, eqx.is_inexact_array)):
        if not jnp.isfinite(leaf).all():
            raise NotFinite(f"{algorithm.family.id}: state{jax.tree_util.keystr(path)} is not finite")
    return state, metrics


@contextmanager
def _signals(run: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Within the block, SIGINT and SIGTERM raise `Stopped` and discard the current iteration.

    Yields a context manager for code that must not be interrupted: a signal is deferred until its block ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield nullcontext  # only the main thread may receive signals
        return
    received: list[int] = []
    deferred = False

    def receive(signum: int) -> None:
        received.append(signum)
        if not deferred:
            raise _Signal

    say = lambda signum: f"onebody: {Stopped(signum, run)}"  # noqa: E731
    try:
        with interrupt.handled(receive, say, signal.SIGINT, signal.SIGTERM) as lock:

            @contextmanager
            def uninterrupted() -> Iterator[None]:
                nonlocal deferred
                with lock:
                    deferred = True
                    yield
                    deferred = False
                if received:
                    raise _Signal

            yield uninterrupted
    except _Signal:
        raise Stopped(received[0], run) from None
