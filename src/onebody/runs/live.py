"""A trained robot that acts step by step, on a task that may change at any moment."""

import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from onebody.algorithms.protocol import Adapted
from onebody.runs import policy_file
from onebody.runs.playable import Playable
from onebody.tasks.body import MujocoBody
from onebody.tasks.limits import bare
from onebody.tasks.space import middle
from onebody.worlds.simulator import Simulator

LATE = 0.1
"""delay (s) behind real time that the robot catches up with; after a longer one it goes on at its own speed"""


class Pace:
    """Keeps control steps in real time."""

    def __init__(self, dt: float):
        """`dt`: seconds per control step."""
        self._dt, self._began = dt, time.monotonic()
        self.seconds = 0.0
        """time of all steps so far"""

    def wait(self) -> None:
        """After a step: until the next one."""
        self.seconds += self._dt
        late = time.monotonic() - self._began - self.seconds
        if late > LATE:
            self._began += late
        time.sleep(max(0.0, -late))


class Live:
    """One robot that acts with the policies of a run, or of a file."""

    def __init__(self, playable: Playable, seed: int = 0):
        """`seed`: of the initial states."""
        self.playable, self.family, self._seed = playable, playable.family, seed
        self._world = Simulator(self.family, threads=1)
        self._achieved = self.family.achieved and jax.jit(self.family.achieved)
        self._resets = 0
        self.ghost: Live | None = None
        """a second robot that begins wherever this one begins, and acts on its own"""
        self.task = middle(self.family.space)
        self.reset()
        self.act_on(self.task, playable.first)

    def act_on(self, task: Float[np.ndarray, " feature"], adapted: Adapted, reward: str = "") -> None:
        """Act on a task with its policy from the next step on, without a ghost. Where dynamics vary with the task, the
        robot begins at a new initial state.

        `reward`: what the policy was optimised for in place of the family's reward.
        """
        self._adapted, self.task, self.reward, self.ghost = adapted, task, reward, None
        self._act = policy_file.actor(policy_file.arrays(adapted.policies, task))
        self._world.change_tasks(task[None])
        if self.family.physics is not None:
            self.reset()

    def beside(self, ghost: "Live") -> None:
        """Begin together with a ghost."""
        self.ghost = ghost
        self.reset()

    def reset(self) -> None:
        """Begin at a new initial state."""
        self._begin(self._resets + 1)

    def step(self) -> None:
        """One control step with the deterministic policy. It goes on after the family's horizon, and begins again only
        where the episode of the robot or its ghost has to end, as after a fall."""
        over = self._advance()
        if self.ghost is not None:
            over |= self.ghost._advance()
        if over:
            self.reset()

    def push(self, deviation: float = 1.0) -> None:
        """Add normal noise to all joint velocities; `deviation`: its standard deviation (m/s, rad/s)."""
        if isinstance(body := bare(self.family.body), MujocoBody):
            change = deviation * np.random.default_rng().standard_normal(body.model.nv)
            self._world.push(change)
            if self.ghost is not None:
                self.ghost._world.push(change)

    def _begin(self, number: int) -> None:
        """At one of the initial states of this seed."""
        self._resets = number
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        self._age, self._observation = self._world.reset(jax.device_put(self.task[None]), 1, key[None])
        self._previous = self._observation
        if self.ghost is not None:
            self.ghost._begin(number)

    def _advance(self) -> bool:
        """One control step; returns whether the episode has to end."""
        self._age, row = self._world.advance(self._age, self._observation, self._act(self._observation))
        self._previous, self._observation = self._observation, np.asarray(row.next_observation)
        return bool(row.terminated.item())

    def save(self, path: Path) -> Path:
        """Write the policy for the task that it acts on, as `AdaptedPolicy.save` does."""
        adapted = self._adapted
        if adapted is self.playable.first and self.playable.any_task:
            adapted = self.playable.adapted(self.task)  # with what is predicted for this task
        about = self.playable.about(self.task, adapted, self.reward)
        return policy_file.save(adapted.policies, self.task, path, about, self.family.limited)

    @property
    def pose(self) -> Float[np.ndarray, " pose"]:
        """Joint positions of a robot, otherwise the observation."""
        return self._world.poses(self._observation)[0, 0]

    @property
    def achieved(self) -> Float[np.ndarray, " feature"] | None:
        """What the last step achieved of each number of the task, such as the velocity; None if that is not defined."""
        if self._achieved is None:
            return None
        return np.asarray(self._achieved(self._previous[0, 0], self._observation[0, 0]))
