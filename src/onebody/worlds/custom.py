"""Families of users: their own, which become known by their ids, and any Gymnasium environment as one."""

import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import Reward, TaskFamily, Terminal, never
from onebody.tasks.space import TaskSpace
from onebody.worlds.check import check
from onebody.worlds.gym import register_view, view_id
from onebody.worlds.refusals import first_line


def register(family: TaskFamily) -> TaskFamily:
    """Make a family of your own, and the one it is tested on, known by their ids to all of onebody and to Gymnasium.

    Another family of yours with the same id is replaced, whatever its version; registering the very same one again does
    nothing. What may not be meant is said on stderr.

    Raises:
        OnebodyError: it is wrong (see `check`), or a family of onebody's own has its id; nothing changes.
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
    source: str = "",
    reward_text: str = "",
) -> TaskFamily:
    """Any Gymnasium environment with flat observations and bounded flat actions as a family, to hand to `register`.

    Its own reward is not used. An episode that it ends where neither `terminal` nor the horizon does is truncated; an
    environment where such episodes are frequent is refused.

    Args:
        env_fn: makes a new environment at each call.
        reward: as of `TaskFamily`; actions are in [-1, 1] there, and are scaled to the environment's own range.
        terminal: as of `TaskFamily`; by default no episode ends before its horizon.
        id: by default `gymnasium/` and the environment's own.
        horizon: control steps an episode; by default the environment's time limit.
        dt: seconds a control step; by default the environment's own `dt`, else 1.
        labels: name of each number of the observation.
        parallel: a process for each environment, for those that are slow. It is spawned: a script that uses it needs
            `if __name__ == "__main__":`.

    Raises:
        OnebodyError: its observations or actions are of another kind, or the horizon is unknown or above its limit.
    """
    try:
        env = env_fn()
    except Exception as error:
        raise OnebodyError(f"from_gymnasium: env_fn raises {first_line(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise OnebodyError(f"from_gymnasium: env_fn gives {type(env).__name__}, not a gymnasium.Env")
    if (another := env_fn()) is env:
        raise OnebodyError(
            "from_gymnasium: env_fn gives the same environment again; let it make a new one at each call"
        )
    another.close()
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    seen, acts = env.observation_space, env.action_space
    if not isinstance(seen, gymnasium.spaces.Box) or len(seen.shape) != 1:
        raise OnebodyError(
            f"environment {name}: observations must be a flat Box, not {seen}; wrap it in "
            "gymnasium.wrappers.FlattenObservation"
        )
    if not isinstance(acts, gymnasium.spaces.Box) or len(acts.shape) != 1 or acts.dtype.kind != "f":
        raise OnebodyError(f"environment {name}: actions must be a flat Box of floats, not {acts}")
    if not (np.isfinite(acts.low).all() and np.isfinite(acts.high).all()):
        raise OnebodyError(f"environment {name}: actions must have finite bounds; wrap it in one that gives them some")
    limit = env.spec.max_episode_steps if env.spec else None
    horizon = limit if horizon is None else horizon
    if horizon is None:
        raise OnebodyError(
            f"environment {name} has no time limit: say how many steps an episode has, as in horizon=200"
        )
    if limit is not None and horizon > limit:
        raise OnebodyError(
            f"environment {name} ends an episode after {limit} steps: horizon {horizon} must not be above"
        )
    labels = labels or tuple(f"observation {i}" for i in range(seen.shape[0]))
    if len(labels) != seen.shape[0]:
        raise OnebodyError(f"environment {name}: {len(labels)} labels for observations of {seen.shape[0]} numbers")
    family = TaskFamily(
        id=id or f"gymnasium/{name.replace('/', '-')}",
        body=GymnasiumBody(
            name=name,
            make=env_fn,
            labels=labels,
            action_size=acts.shape[0],
            dt=float(getattr(env.unwrapped, "dt", 1.0)) if dt is None else dt,
            parallel=parallel,
        ),
        space=space,
        reward=reward,
        terminal=terminal,
        horizon=horizon,
        source=source or f"the Gymnasium environment {name}",
        reward_text=reward_text,
        terminal_text="never" if terminal is never else "where its terminal function says so",
    )
    env.close()
    return family
