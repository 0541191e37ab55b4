"""SAC on the real simulator, with a learned temperature (Haarnoja et al. 2018b), for one task or the mean of all.

    1: initialise the policy, two critics and their targets, the temperature α; real episodes with the policy   `step`
    2: for n_iterations
    3:     real episodes, each of its own task, into replay
    4:     n_gradient times, for a batch of transitions                                                     `update`
    5:         Q₁, Q₂ towards r + γ (min Q̄ - α log π); π down α log π - min Q; α towards an entropy of -actions
    6: a new ψ: stage 0 is the policy as it is; each stage lines 3-5 for ψ alone, with a replay of its own   `adapt`

The policy does not see ψ: untrained (`--samples 0`) and adapted in stages it is the usual single-task baseline.

Differences from the paper: episodes and gradient steps take turns in blocks, not one by one; the first episodes are the
policy's own, not uniformly random; networks begin as those of the released PEARL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from onebody.algorithms.model_free.replayed import REMEMBERED, adaptation, collect, new_replay, visited
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core import random
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import MLP
from onebody.core.types import Key
from onebody.learning.off_policy import averaged, descend, new_optimizer, repeated, value
from onebody.learning.policies import for_each
from onebody.learning.sac import LatentPolicy, network
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """Haarnoja et al. 2018b, Table 1, a gradient step a sample on the half-cheetah of 200 steps an episode."""

    n_iterations: int = 1000
    """Iterations of training"""
    episodes: int = 5
    """Real episodes per iteration, each of its own task; as many per task and stage of adaptation"""
    initial_episodes: int = 5
    """Real episodes before the first iteration"""
    n_gradient: int = 1000
    """Gradient steps per iteration, and per task and stage of adaptation"""
    batch: int = 256
    """Transitions per gradient step"""
    hidden: tuple[int, ...] = (256, 256)
    """Units of each hidden layer of policy and critics"""
    learning_rate: float = 3e-4
    """Adam's learning rate for policy, critics and temperature"""
    discount: float = 0.99
    """Discount factor γ"""
    target_rate: float = 0.005
    """Share τ of the critics' weights in those of their targets per gradient step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "initial_episodes", "n_gradient", "batch", "hidden")
        at_least(0, self, "discount")
        positive(self, "learning_rate", "target_rate")
        at_most(1, self, "discount", "target_rate")


class Learner(eqx.Module):
    """What learns, and what its optimisers remember."""

    actor: LatentPolicy
    critics: tuple[MLP, MLP]
    targets: tuple[MLP, MLP]
    log_temperature: Float[Array, ""]
    optimizers: tuple[PyTree, PyTree, PyTree]


class State(eqx.Module):
    """Everything of a training."""

    learner: Learner
    replay: TaskReplay


def update(learner: Learner, replay: TaskReplay, key: Key, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 5."""
    batch_key, next_key, action_key = jax.random.split(key, 3)
    rows = jax.tree.map(lambda x: x[0], replay.draw(batch_key, jnp.zeros(1, jnp.int32), config.batch))
    temperature = jnp.exp(learner.log_temperature)
    action, log_prob, _ = learner.actor.sample(rows.next_observation, random.normal(next_key, rows.action.shape))
    following = jnp.minimum(*(value(q, rows.next_observation, action) for q in learner.targets))
    soft = following - temperature * log_prob
    wanted = rows.reward + config.discount * (1 - rows.terminated) * soft

    def critic_loss(critics: tuple[MLP, MLP]) -> Array:
        errors = [jnp.mean((value(q, rows.observation, rows.action) - wanted) ** 2) for q in critics]
        return sum(errors, start=jnp.zeros(()))

    loss, gradient = eqx.filter_value_and_grad(critic_loss)(learner.critics)
    critics, critic_state = descend(config.learning_rate, learner.critics, gradient, learner.optimizers[0])
    noise = random.normal(action_key, rows.action.shape)

    def policy_loss(net: MLP) -> tuple[Array, Array]:
        actor = eqx.tree_at(lambda a: a.net, learner.actor, net)
        action, log_prob, _ = actor.sample(rows.observation, noise)
        smallest = jnp.minimum(*(value(q, rows.observation, action) for q in critics))
        return jnp.mean(temperature * log_prob - smallest), log_prob.mean()

    (_, log_prob), gradient = eqx.filter_value_and_grad(policy_loss, has_aux=True)(learner.actor.net)
    net, policy_state = descend(config.learning_rate, learner.actor.net, gradient, learner.optimizers[1])
    excess = -log_prob + rows.action.shape[-1]  # entropy above its target: the slope in log α, as in the released code
    log_temperature, temperature_state = descend(
        config.learning_rate, learner.log_temperature, excess, learner.optimizers[2]
    )
    targets = averaged(learner.targets, critics, config.target_rate)
    actor = eqx.tree_at(lambda a: a.net, learner.actor, net)
    metrics = {"critic/error": jnp.sqrt(loss / 2), "policy/entropy": -log_prob, "policy/temperature": temperature}
    optimizers = critic_state, policy_state, temperature_state
    return Learner(actor, critics, targets, log_temperature, optimizers), metrics


@partial(jax.jit, static_argnames=("config",))
def improve(learner: Learner, replay: TaskReplay, key: Key, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 4."""
    keys = jax.random.split(key, config.n_gradient)
    return repeated(lambda learner, key: update(learner, replay, key, config), learner, keys)


@dataclass(frozen=True)
class SAC:
    """Soft actor-critic."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> State:
        config, body = self.config, self.family.body
        seen, actions = body.observation_size, body.action_size
        actor_key, *keys = jax.random.split(key, 3)
        actor = LatentPolicy(actor_key, seen, 0, actions, config.hidden)
        first, second = (network(k, (seen + actions, *config.hidden, 1)) for k in keys)
        critics, temperature = (first, second), jnp.zeros(())
        new = partial(new_optimizer, config.learning_rate)
        optimizers = new(critics), new(actor.net), new(temperature)
        learner = Learner(actor, critics, critics, temperature, optimizers)
        return State(learner, new_replay(self.family, config.episodes, config.n_iterations, config.initial_episodes))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        draw_key, begin_key, task_key, episode_key, learn_key = jax.random.split(key, 5)
        config, replay, actor = self.config, state.replay, state.learner.actor
        if not replay.n:
            tasks = self.family.space.sample(draw_key, config.initial_episodes)
            replay = replay.begin(self._episodes(actor, tasks, 1, begin_key)[0])
        tasks = self.family.space.sample(task_key, config.episodes)
        rows, metrics = self._episodes(actor, tasks, 1, episode_key)
        replay = visited(replay, rows)
        learner, found = improve(state.learner, replay, learn_key, config)
        return State(learner, replay), metrics | {name: float(x) for name, x in found.items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 6."""
        config, empty = self.config, new_replay(self.family, self.config.episodes, REMEMBERED)
        return adaptation(
            state.learner,
            empty,
            tasks,
            key,
            policy=lambda learner: learner.actor,
            collect=lambda learner, task, k: self._episodes(learner.actor, task[None], config.episodes, k)[0],
            improve=lambda learner, _, replay, k: improve(learner, replay, k, config)[0],
        )

    def _episodes(self, actor: LatentPolicy, tasks: Array, episodes: int, key: Key) -> tuple[Rows, Metrics]:
        """Line 3."""
        return collect(self.simulator, for_each(actor, len(tasks)), tasks, episodes, key)


SPEC = AlgorithmSpec(
    SAC,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=40),
        "smoke": Config(n_iterations=2, episodes=2, n_gradient=5, batch=16, hidden=(16, 16)),
    },
)
