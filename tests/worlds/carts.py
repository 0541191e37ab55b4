"""A cart of which there is only one, what it is told, and how policies act on it."""

from collections import Counter
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import onebody
from onebody.core.errors import EmergencyStop
from onebody.core.nets import Normalizer
from onebody.learning.policies import Exploring, GaussianPolicy, for_each
from onebody.runs import journal
from onebody.worlds.custom import from_gymnasium
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

HORIZON = 6
TASKS = jnp.array([[0.3], [-0.3]])


class Cart(gymnasium.Env):
    """A cart that says what it is told, and has its accidents at chosen steps of all carts together."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
    dt = 0.1
    told: list
    accidents: dict

    def __init__(self):
        self.told.append("make")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.told.append("reset")
        self.state = self.np_random.uniform(-0.1, 0.1, 2).astype(np.float32)
        return self.state, {}

    def step(self, action):
        accident = self.accidents.pop(Counter(self.told)["step"], None)
        if accident is not None and (result := accident()) is not None:
            return result
        self.told.append("step")
        self.state = self.state + np.float32(0.1) * np.concatenate([self.state[1:], action])
        return self.state, 0.0, False, False, {}

    def close(self):
        self.told.append("close")


def carts(accidents=None, **options):
    """A family with carts, and all that they are told."""
    kind = type("Own", (Cart,), {"told": [], "accidents": accidents or {}})
    family = from_gymnasium(
        kind,
        reward=lambda observation, action, next_observation, task: -jnp.abs(next_observation[0] - task[0]),
        terminal=lambda next_observation, task: jnp.abs(next_observation[1]) > 0.25,
        space=onebody.Box((-1.0,), (1.0,)),
        id="robot/cart",
        horizon=HORIZON,
        **options,
    )
    return family, kind.told


@jax.jit
def policies(key):
    return for_each(GaussianPolicy(key, (4,), Normalizer(2), 1), len(TASKS))


def acted(family, record=None, episodes=1):
    """Transitions of exploring policies, and the simulator; `record`: its journal."""
    simulator = Simulator(family)
    if record is not None:
        simulator.robot.journal = record
    explorers = Exploring(policies(jax.random.key(0)), jnp.array([1.0, 0.5]))
    transitions = rollout(simulator, explorers, TASKS, jax.random.key(1), episodes=episodes)
    return jax.tree.map(np.asarray, transitions), simulator


def fails():
    raise ValueError("motor 3 is hot")


def stops():
    raise EmergencyStop


def book(iteration=1, observation_size=2):
    return journal.Journal(Path(journal.NAME), {"iteration": iteration}, (observation_size, 1), "again")
