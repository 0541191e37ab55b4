"""Families of users: registers them by their ids, and makes a family from a Gymnasium environment."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import gymnasium
import numpy as np

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import Reward, TaskFamily, Terminal, never
from onebody.tasks.space import TaskSpace
from onebody.worlds import robot
from onebody.worlds.check import check
from onebody.worlds.gym import register_view, view_id
from onebody.worlds.refusals import environment_error


def register(family: TaskFamily) -> TaskFamily:
    """Register a family of your own, and its test family, by their ids in onebody and in Gymnasium.

    Replaces another family of yours with the same id, whatever its version; registering the same family again has no
    effect. Prints notes on what may be unintended on stderr.

    Raises:
        OnebodyError: it is invalid (see `check`), or onebody has a family of this id; nothing changes then.
    """
    new = [member for member in (family, family.test) if member is not None and not registry.is_known(member)]
    for note in check(family) if new else ():
        print(f"onebody: {note}", file=sys.stderr)
    before = gymnasium.registry.copy()
    try:
        for member in new:
            register_view(member)
    except BaseException:
        for view in gymnasium.registry.keys() - before.keys():
            del gymnasium.registry[view]
        raise
    for member in new:
        replaced = registry.families().get(member.id, member)
        registry.add(member)
        if view_id(replaced) != view_id(member):
            gymnasium.registry.pop(view_id(replaced), None)
    return family


def from_gymnasium(
    env_fn: Callable[[], Any],
    *,
    reward: Reward,
    space: TaskSpace,
    terminal: Terminal = never,
    id: str | None = None,
    horizon: int | None = None,
    dt: float | None = None,
    labels: tuple[str, ...] | None = None,
    parallel: bool = False,
    copies: int | None = None,
    real_time: bool = False,
    timeout: float | None = 10.0,
    source: str = "",
    reward_text: str = "",
) -> TaskFamily:
    """Make a family from a Gymnasium environment with flat observations and bounded flat actions, for `register`.

    The environment's own reward is not used. An episode that the environment ends before `terminal` or the horizon does
    is truncated; an error is raised if that is frequent.

    Args:
        env_fn: makes a new environment at each call; with render_mode="rgb_array" it can be filmed.
        reward: as in `TaskFamily`; its actions are in [-1, 1], and are scaled to the environment's range.
        terminal: as in `TaskFamily`; by default no episode ends before its horizon.
        id: by default `gymnasium/` followed by the environment's id.
        horizon: control steps per episode; by default the environment's time limit.
        dt: seconds per control step; by default the environment's `dt`, or 1 if it has none.
        labels: name of each number of the observation.
        parallel: run each environment in its own process, for slow environments. Processes are spawned, so a script
            that uses this needs `if __name__ == "__main__":`.
        copies: 1 if there is only one, such as a robot or a simulator process. Its episodes are run one after the
            other, and nothing moves it unasked; docs/one_robot.md says more. None: as many as are useful.
        real_time: the environment, of which there is only one, keeps time: `step` returns one `dt` after the last one.
            Late actions are counted.
        timeout: longest time (s) that `step` may take where there is only one environment; then training ends. `step`
            is called in a thread of its own for this. None: any time, in the thread of the training.

    Raises:
        OnebodyError: its observations or actions are of another kind, or the horizon is unknown or too long.
    """
    if copies not in (None, 1):
        raise OnebodyError(f"from_gymnasium: copies is 1, or None for as many as are useful, not {copies!r}")
    if copies is None and real_time:
        raise OnebodyError("from_gymnasium: real_time is for an environment of which there is only one: give copies=1")
    if copies and parallel:
        raise OnebodyError("from_gymnasium: parallel needs several environments: leave it out, or leave copies=1 out")
    if timeout is not None and not 0 < timeout < math.inf:
        raise OnebodyError(f"from_gymnasium: timeout must be above 0 seconds and finite, or None, not {timeout!r}")
    with _made(env_fn, single=bool(copies)) as env:
        name = env.spec.id if env.spec else type(env.unwrapped).__name__
        observation_space, action_space = env.observation_space, env.action_space
        limit = env.spec.max_episode_steps if env.spec else None
        own_dt = getattr(env.unwrapped, "dt", None)
    if not isinstance(observation_space, gymnasium.spaces.Box) or len(observation_space.shape) != 1:
        wrap = "wrap it in gymnasium.wrappers.FlattenObservation"
        if observation_space.dtype == np.uint8 and len(observation_space.shape or ()) > 1:
            wrap = "onebody does not learn from images: choose an environment that observes its state"
        elif isinstance(observation_space, gymnasium.spaces.Dict) and "desired_goal" in observation_space.spaces:
            wrap = (
                "leave its own goal out, as in gymnasium.wrappers.FlattenObservation("
                "gymnasium.wrappers.FilterObservation(env, ['achieved_goal', 'observation']))"
            )
        raise OnebodyError(f"environment {name}: observations must be a flat Box, not {observation_space}; {wrap}")
    if (
        not isinstance(action_space, gymnasium.spaces.Box)
        or len(action_space.shape) != 1
        or action_space.dtype.kind != "f"
    ):
        discrete = action_space.dtype is not None and action_space.dtype.kind != "f"
        reason = ": onebody does not learn discrete actions" if discrete else ""
        raise OnebodyError(f"environment {name}: actions must be a flat Box of floats, not {action_space}{reason}")
    if not (np.isfinite(action_space.low).all() and np.isfinite(action_space.high).all()):
        raise OnebodyError(f"environment {name}: actions must have finite bounds; add a wrapper that sets them")
    horizon = limit if horizon is None else horizon
    if horizon is None:
        raise OnebodyError(
            f"environment {name} has no time limit: give the number of steps per episode, as in horizon=200"
        )
    if limit is not None and horizon > limit:
        raise OnebodyError(f"environment {name} ends an episode after {limit} steps: horizon {horizon} is above that")
    if real_time and dt is None and own_dt is None:
        raise OnebodyError(f"environment {name}: real_time needs the seconds per control step, as in dt=0.02")
    labels = labels or tuple(f"observation {i}" for i in range(observation_space.shape[0]))
    if len(labels) != observation_space.shape[0]:
        raise OnebodyError(
            f"environment {name}: {len(labels)} labels for observations of {observation_space.shape[0]} numbers"
        )
    return TaskFamily(
        id=id or f"gymnasium/{name.replace('/', '-')}",
        body=GymnasiumBody(
            name=name,
            make=env_fn,
            labels=labels,
            action_low=tuple(action_space.low.tolist()),
            action_high=tuple(action_space.high.tolist()),
            dt=dt if dt is not None else 1.0 if own_dt is None else float(own_dt),
            parallel=parallel,
            copies=copies,
            real_time=real_time,
            timeout=timeout if copies else None,
        ),
        space=space,
        reward=reward,
        terminal=terminal,
        horizon=horizon,
        source=source or f"the Gymnasium environment {name}",
        reward_text=reward_text,
        terminal_text="never" if terminal is never else "where its terminal function says so",
    )


@contextmanager
def _made(env_fn: Callable[[], Any], single: bool) -> Iterator[Any]:
    """An environment that `env_fn` makes, closed at the end of the block.

    `single`: there is only one such environment, so that the one in use is closed before.
    """
    with robot.IN_USE if single else nullcontext():
        if single:
            robot.make_room()
        try:
            env = env_fn()
        except (Exception, SystemExit) as error:
            raise OnebodyError(f"from_gymnasium: env_fn raises {environment_error(error)}") from error
        if not isinstance(env, gymnasium.Env):
            raise OnebodyError(f"from_gymnasium: env_fn gives {type(env).__name__}, not a gymnasium.Env")
        with closing(env):
            if not single:
                if (another := env_fn()) is env:
                    raise OnebodyError(
                        "from_gymnasium: env_fn gives the same environment again; it must make a new one at each call"
                    )
                another.close()
            yield env
