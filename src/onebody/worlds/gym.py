"""Every family as a Gymnasium environment. Importing this module registers them in Gymnasium.

`gymnasium.make("onebody.worlds.gym:onebody/smt-cheetah-vel-v1", task=1.3)` imports it first.
"""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Float

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.worlds.camera import Camera
from onebody.worlds.simulator import Simulator

OBSERVATION_LIMIT = float(np.finfo(np.float32).max)
"""bound of the observation space: observations are finite, and no smaller bound is known"""


class Env(gymnasium.Env[np.ndarray, np.ndarray]):
    """One body with one task at a time: observations [observation], actions [action] in [-1, 1], float32.

    `info["task"]` is the task [feature]. An episode is `terminated` by the family's terminal function and `truncated`
    at its horizon.

    Raises:
        OnebodyError: no such family, task or render mode, or a body that cannot be drawn here; from `step`, an action
            of the wrong shape, or an observation or reward that is not finite.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, family: str | TaskFamily, task: Any = None, render_mode: str | None = None):
        """`family`: a family or its id. `task`: a number or sequence; None: sampled from p(ψ) at each `reset`."""
        self._family = registry.make(family) if isinstance(family, str) else family
        self._fixed_tasks = None if task is None else self._family.parse(task)[None]
        self.observation_space, self.action_space = _spaces(self._family)
        self.metadata, self.render_mode = _metadata(self, self._family), render_mode
        self._camera = _camera(self._family, render_mode)
        self._world = Simulator(self._family, threads=1)
        self._observation: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; there are no `options`."""
        super().reset(seed=seed)
        _no_options(options)
        self._tasks, self._age, self._observation = _start(self._world, self._fixed_tasks, 1, self.np_random)
        self._poses: list[np.ndarray] = []
        return self._observed(self._observation)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for one control step. After the end of an episode, call `reset`."""
        observation = _checked_reset(self._observation)
        action = _checked_action(action, self.action_space, self._family)
        self._age, row = self._world.advance(self._age, observation, action[None, None])
        self._observation = np.asarray(row.next_observation)
        observation, info = self._observed(self._observation)
        return observation, row.reward.item(), row.terminated.item(), row.truncated.item(), info

    def _observed(self, observation: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        if self._camera is not None:
            self._poses.append(self._world.poses(observation)[0, 0])
        return observation[0, 0].copy(), {"task": self._tasks[0].copy()}

    def render(self) -> np.ndarray | None:
        """An image of the body in its current state, uint8 [height, width, 3]; None without a `render_mode`."""
        _checked_reset(self._observation)
        return None if self._camera is None else np.array(self._camera.picture(self._poses, self._tasks[0]))

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
        if self._world.robot is not None:
            self._world.robot.close()


class VectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` copies of one body, each with its own task; otherwise as `Env`.

    A copy whose episode ends starts another one with the same task in the same step; the episode's last observation is
    then in `info["final_obs"]`, as in Gymnasium's own vector environments. `info["task"]` is [num_envs, feature].

    Raises:
        OnebodyError: as `Env`.
    """

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, family: str | TaskFamily, num_envs: int = 1, task: Any = None, render_mode: str | None = None):
        """`task`: one for all copies, or [num_envs, feature]; None: sampled for each copy at each `reset`."""
        self._family, self.num_envs = registry.make(family) if isinstance(family, str) else family, num_envs
        self._fixed_tasks = None if task is None else _tasks(task, num_envs, self._family)
        self.single_observation_space, self.single_action_space = _spaces(self._family)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata, self.render_mode = _metadata(self, self._family), render_mode
        self._camera = _camera(self._family, render_mode)
        self._world = Simulator(self._family)
        self._observation: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of each copy; there are no `options`."""
        super().reset(seed=seed)
        _no_options(options)
        start = _start(self._world, self._fixed_tasks, self.num_envs, self.np_random)
        self._tasks, self._age, self._observation = start
        return self._observation[:, 0].copy(), self._info(np.ones(self.num_envs, bool))

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act with [num_envs, action] for one control step; rewards and ends of episodes are [num_envs]."""
        observation = _checked_reset(self._observation)
        actions = _checked_action(actions, self.action_space, self._family)
        self._age, self._observation, row = self._world.step(self._age, observation, actions[:, None])
        reward, terminated, truncated = (np.array(x)[:, 0] for x in (row.reward, row.terminated, row.truncated))
        info, done = self._info(np.ones(self.num_envs, bool)), terminated | truncated
        if done.any():
            last = np.full(self.num_envs, None)
            for i in np.flatnonzero(done):
                last[i] = row.next_observation[i, 0].copy()
            info |= {"final_obs": last, "_final_obs": done, "final_info": self._info(done), "_final_info": done.copy()}
        return self._observation[:, 0].copy(), reward, terminated, truncated, info

    def _info(self, copies: np.ndarray) -> dict[str, Any]:
        return {"task": np.where(copies[:, None], self._tasks, 0), "_task": copies.copy()}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """An image of each copy in its current state, uint8 [height, width, 3]; None without a `render_mode`."""
        observation, camera = _checked_reset(self._observation), self._camera
        if camera is None:
            return None
        poses = self._world.poses(observation)
        return tuple(np.array(camera.picture([*pose], task)) for pose, task in zip(poses, self._tasks, strict=True))

    def close_extras(self) -> None:
        if self._camera is not None:
            self._camera.close()
        if self._world.robot is not None:
            self._world.robot.close()


def view_id(family: TaskFamily) -> str:
    """A family's id in Gymnasium: `smt/ant-vel`, version 1, is `onebody/smt-ant-vel-v1`."""
    return f"onebody/{family.id.replace('/', '-')}-v{family.version}"


def register_view(family: TaskFamily) -> str:
    """Register a family in Gymnasium, unless it is registered already; returns its id there.

    Raises:
        OnebodyError: another family has this id in Gymnasium.
    """
    name = view_id(family)
    known = gymnasium.registry.get(name)
    if known is not None and known.kwargs["family"] != family.id:
        raise OnebodyError(
            f"family {family.id}: its id in Gymnasium, {name}, is already that of {known.kwargs['family']}"
        )
    if known is None:
        one, several = (f"{__name__}:{kind.__name__}" for kind in (Env, VectorEnv))
        gymnasium.register(name, one, vector_entry_point=several, kwargs={"family": family.id})
    return name


def _spaces(family: TaskFamily) -> tuple[Box, Box]:
    body = family.body
    return Box(-OBSERVATION_LIMIT, OBSERVATION_LIMIT, (body.observation_size,), np.float32), Box(
        -1.0, 1.0, (body.action_size,), np.float32
    )


def _metadata(env: Any, family: TaskFamily) -> dict[str, Any]:
    """Metadata with the frame rate that shows one image per step in real time."""
    return {**env.metadata, "render_fps": max(1, round(1 / family.body.dt))}


def _camera(family: TaskFamily, render_mode: str | None) -> Camera | None:
    if render_mode not in (None, "rgb_array"):
        raise OnebodyError(f"render_mode {render_mode!r} of {family.id}: only 'rgb_array' is supported")
    return None if render_mode is None else Camera(family.body)


def _tasks(task: Any, n: int, family: TaskFamily) -> Float[Array, "n feature"]:
    """Tasks of n copies, from one task for all or from n tasks."""
    try:
        several = np.ndim(task) == 2
    except ValueError:  # rows of different lengths
        several = True
    rows = [family.parse(row) for row in task] if several else [family.parse(task)] * n
    if len(rows) != n:
        raise OnebodyError(f"{len(rows)} tasks for {n} copies of {family.id}: give one task for all, or one for each")
    return jnp.stack(rows)


def _start(
    world: Simulator, fixed: Array | None, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tasks [n, feature], ages [n, 1] and observations [n, 1, observation] of n new episodes."""
    task_key, start_key = jax.random.split(jax.random.key(int(rng.integers(2**32))))
    tasks = world.family.space.sample(task_key, n) if fixed is None else fixed
    return np.asarray(tasks), *world.reset(tasks, 1, jax.random.split(start_key, n))


def _no_options(options: dict[str, Any] | None) -> None:
    if options:
        raise OnebodyError(
            f"reset has no option {next(iter(options))!r}; give the task to gymnasium.make, as in task=…"
        )


def _checked_reset(observation: np.ndarray | None) -> np.ndarray:
    if observation is None:
        raise gymnasium.error.ResetNeeded("call reset first")
    return observation


def _checked_action(action: Any, space: Any, family: TaskFamily) -> np.ndarray:
    action = np.asarray(action, np.float32)
    if action.shape != space.shape:
        raise OnebodyError(f"the action has shape {action.shape}; actions of {family.id} here have shape {space.shape}")
    return action


for _family in registry.families().values():
    register_view(_family)
