"""A robot that is not told its task: it adapts as its algorithm does, in real time."""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.core.gaussian import Gaussian
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Keys, Transitions
from onebody.learning.policies import Inferring, Remembering
from onebody.runs import evaluate, folder, loaded, log, policy_file
from onebody.runs.live import Pace
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import bare
from onebody.tasks.space import middle
from onebody.worlds.refusals import refuse_single
from onebody.worlds.rollout import Carry, rollout
from onebody.worlds.simulator import Simulator

LEARNING_STAGES = 16
"""stages after which the robot acts without learning more, since inference takes longer with each episode"""


def is_hidden(path: Path) -> bool:
    """Whether a path is the folder of a training run whose algorithm is not told the task; errors as of
    `loaded.Run`."""
    return path.suffix != ".npz" and not loaded.Run(path).algorithm.task_is_known


class Adapting:
    """One robot that adapts to a task that it is not told.

    It acts in the very episodes that its algorithm's adaptation takes, those of `onebody adapt RUN --stages`; where a
    stage takes several episodes at once, it is the robot of the first one. One thread calls `adapt`, others the rest.
    """

    ghost: "Adapting | None" = None

    def __init__(self, run: Path):
        """Raises OnebodyError as `loaded.load`, if the algorithm has neither a belief nor a memory, or for a single
        environment, such as a robot."""
        self._run = loaded.Run(run, _RealTime)
        algorithm, name = self._run.algorithm, self._run.record["algorithm"]
        self._state, self.family = self._run.checkpoint.state, algorithm.family
        refuse_single(self.family, "play", f"adapt to a task with real samples: onebody adapt {run} --stages N")
        self.training_space = folder.family_of(self._run.record).space
        self.title = f"{name}, trained on {self._run.checkpoint.facts['samples']:,} real samples"
        self.task = middle(self.family.space)
        self.tries = 0
        """number of times that it has begun with the prior"""
        with log.announce_if_slow(f"preparing the adaptation of {name}", quiet=False):
            tasks = jax.device_put(self.task[None])
            first: Adapted = next(algorithm.adapt(self._state, tasks, self._key()))
        if first.belief is None and not isinstance(first.policies, Remembering):
            raise OnebodyError(
                f"{run}: {name} is not told the task, and has neither a belief about it nor a memory, so it cannot be "
                "played: play a run of an algorithm that is told the task (onebody list says which are), or of "
                "omni-hidden, pearl or rl2"
            )
        self.infers = isinstance(first.policies, Inferring)
        """whether the belief is one over the numbers of the task, which each step changes"""
        self._known: tuple[Adapted, Any] = first, None
        """the stage, and the memory of its policies after the last step of its episode"""
        self._samples = 0
        self._achieved = self.family.achieved and jax.jit(self.family.achieved)
        simulator = algorithm.simulator
        assert isinstance(simulator, _RealTime)
        simulator.reset(tasks, 1, jax.random.key(0)[None])
        simulator.on_step = self._remember
        self._simulator = simulator

    def adapt(self, task: Float[np.ndarray, " feature"], stopped: Callable[[], bool]) -> None:
        """Begin with the prior, and adapt to a task in real time until `stopped`.

        Raises:
            NotFinite: the simulation has failed.
        """
        if stopped():
            return
        simulator, key, tasks = self._simulator, self._key(), jax.device_put(task[None])
        simulator.begin(stopped)
        self.task, before = task, simulator.samples
        with contextlib.suppress(_Stopped):
            stages = itertools.islice(self._run.algorithm.adapt(self._state, tasks, key), LEARNING_STAGES + 1)
            for adapted in stages:
                if stopped():
                    return
                self._known, self._samples = (adapted, None), simulator.samples - before
                self.tries += not self._samples
            for i in itertools.count():
                again = jax.random.fold_in(key, i)
                rollout(simulator, self._known[0].policies, tasks, again, episodes=1, deterministic=True)

    def push(self, deviation: float = 1.0) -> None:
        """As `Live.push`, before the next step."""
        if isinstance(body := bare(self.family.body), MujocoBody):
            velocities = body.model.nv
            self._simulator.pushes.append(deviation * np.random.default_rng().standard_normal(velocities))

    def save(self, path: Path) -> Path:
        """Write the policy of the last stage, as `AdaptedPolicy.save` does; not if it `infers`."""
        adapted, _ = self._known
        about = self._run.about(jax.device_put(self.task), adapted, 0, self._samples)
        return policy_file.save(adapted.policies, self.task, path, about, self.family.limited)

    @property
    def belief(self) -> Gaussian | None:
        """Over the numbers of the task or a latent [feature]; None without one."""
        adapted, memory = self._known
        if memory is not None and self.infers:
            return jax.tree.map(lambda x: np.asarray(x[0, 0]), _believed(adapted.policies, memory))
        return adapted.belief and jax.tree.map(lambda x: np.asarray(x[0]), adapted.belief)

    @property
    def returns(self) -> tuple[float, ...]:
        """Real return of each episode so far; the mean over those that are taken at once."""
        return tuple(self._simulator.returns)

    @property
    def acting(self) -> bool:
        """Whether it acts, rather than waits until the algorithm has learned from an episode."""
        return self._simulator.acting

    @property
    def pose(self) -> Float[np.ndarray, " pose"]:
        """As `Live.pose`."""
        return self._simulator.pose

    @property
    def achieved(self) -> Float[np.ndarray, " feature"] | None:
        """As `Live.achieved`."""
        if self._achieved is None or (last := self._simulator.last) is None:
            return None
        return np.asarray(self._achieved(last.observation[0, 0], last.next_observation[0, 0]))

    def _key(self) -> Key:
        """That of `onebody adapt` for the first try, and others for the next ones."""
        key = evaluate.key_of(self._run.record["seed"])
        return jax.random.fold_in(key, self.tries) if self.tries else key

    def _remember(self, memory: Any) -> None:
        self._known = self._known[0], memory


class _Stopped(Exception):
    """The robot is to do something else."""


class _RealTime(Simulator):
    """A simulator that steps in real time until it is stopped, and can be watched by other threads."""

    def __init__(self, family: TaskFamily):
        super().__init__(family, threads=1)
        self.begin(lambda: False)
        self.on_step: Callable[[Any], None] = lambda memory: None
        self.pushes: deque[np.ndarray] = deque()
        """changes of joint velocities before the next step"""

    def begin(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self.acting, self.last, self.returns = False, None, []

    def reset(
        self, tasks: Float[Array, "task feature"], episodes: int, keys: Keys
    ) -> tuple[np.ndarray, Float[np.ndarray, "task episode observation"]]:
        age, observation = super().reset(tasks, episodes, keys)
        self.pose = self.poses(observation)[0, 0]
        return age, observation

    def scan(self, step: Any, carry: Carry, noise: Any, needs_reward: bool = False) -> tuple[Carry, Transitions]:
        pace = Pace(self.family.body.dt)

        def timed(carry: Carry, noise: Any) -> tuple[Carry, Transitions]:
            if self._stopped():
                raise _Stopped
            while self.pushes:
                self.push(self.pushes.popleft())
            carry, self.last = step(carry, noise)
            self.pose = self.poses(carry.observation)[0, 0]
            self.on_step(carry.memory)
            pace.wait()
            return carry, self.last

        self.acting = True
        try:
            carry, transitions = super().scan(timed, carry, noise, needs_reward)
        finally:
            self.acting = False
        of_task = jax.tree.map(lambda x: x[:, 0][None], transitions)
        self.returns.append(float(first_episode_return(of_task.reward, of_task.done).mean()))
        return carry, transitions


@jax.jit
def _believed(policies: Inferring, memory: Any) -> Gaussian:
    return jax.vmap(lambda policy, memory: policy.believed(memory))(policies, memory)
