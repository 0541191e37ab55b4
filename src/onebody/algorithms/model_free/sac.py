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
import optax
from jaxtyping import Array, Float

from onebody.algorithms.model_free.replayed import KEPT_STAGES, adaptation, collect, new_replay, with_rows
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.core import random
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import MLP
from onebody.core.types import Key
from onebody.learning.off_policy import averaged, repeated, value
from onebody.learning.policies import for_each
from onebody.learning.sac import LatentPolicy, network, policy_network
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.learning.train_state import TrainState
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
    """All networks, with their optimisers."""

    policy: TrainState[MLP]
    critics: TrainState[tuple[MLP, MLP]]
    targets: tuple[MLP, MLP]
    log_temperature: TrainState[Float[Array, ""]]

    @property
    def actor(self) -> LatentPolicy:
        return policy_of(self.policy.module)


class State(eqx.Module):
    """State of a training run."""

    learner: Learner
    replay: TaskReplay


def policy_of(net: MLP) -> LatentPolicy:
    """The policy of a network; no part of it is hidden from it, so that there is no latent."""
    return LatentPolicy(net, jnp.zeros(0))


def critic_target(learner: Learner, batch: Rows, noise: Array, config: Config) -> Float[Array, " row"]:
    """r + γ (min Q̄ - α log π), of an action of the policy in the next state."""
    action, log_prob, _ = learner.actor.sample(batch.next_observation, noise)
    min_q = jnp.minimum(*(value(q, batch.next_observation, action) for q in learner.targets))
    soft = min_q - jnp.exp(learner.log_temperature.module) * log_prob
    return batch.reward + config.discount * (1 - batch.terminated) * soft


def critic_loss(critics: tuple[MLP, MLP], batch: Rows, target: Float[Array, " row"]) -> tuple[Array, Array]:
    """Sum of both critics' mean squared errors (Haarnoja et al. 2018b, Eq. 5)."""
    errors = [jnp.mean((value(q, batch.observation, batch.action) - target) ** 2) for q in critics]
    loss = sum(errors, start=jnp.zeros(()))
    return loss, loss


def policy_loss(
    net: MLP, critics: tuple[MLP, MLP], batch: Rows, noise: Array, temperature: Float[Array, ""]
) -> tuple[Array, Array]:
    """α log π - min Q (ibid., Eq. 7), and the mean of log π."""
    action, log_prob, _ = policy_of(net).sample(batch.observation, noise)
    min_q = jnp.minimum(*(value(q, batch.observation, action) for q in critics))
    return jnp.mean(temperature * log_prob - min_q), log_prob.mean()


def update(learner: Learner, replay: TaskReplay, key: Key, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 5."""
    batch_key, next_key, action_key = jax.random.split(key, 3)
    batch = jax.tree.map(lambda x: x[0], replay.draw(batch_key, jnp.zeros(1, jnp.int32), config.batch))
    next_noise, noise = (random.normal(k, batch.action.shape) for k in (next_key, action_key))
    adam, temperature = optax.adam(config.learning_rate), jnp.exp(learner.log_temperature.module)

    target = critic_target(learner, batch, next_noise, config)
    critics, error = learner.critics.minimize(lambda critics: critic_loss(critics, batch, target), adam)
    policy, log_prob = learner.policy.minimize(
        lambda net: policy_loss(net, critics.module, batch, noise, temperature), adam
    )
    excess = -log_prob + batch.action.shape[-1]  # entropy above its target: the slope in log α, as in the released code
    log_temperature = learner.log_temperature.apply(excess, adam)
    targets = averaged(learner.targets, critics.module, config.target_rate)
    metrics = {"critic/error": jnp.sqrt(error / 2), "policy/entropy": -log_prob, "policy/temperature": temperature}
    return Learner(policy, critics, targets, log_temperature), metrics


@partial(jax.jit, static_argnames=("config",))
def gradient_steps(learner: Learner, replay: TaskReplay, key: Key, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 4."""
    keys = jax.random.split(key, config.n_gradient)
    return repeated(lambda learner, key: update(learner, replay, key, config), learner, keys)


@partial(jax.jit, static_argnames=("observations", "actions", "config"))
def new_learner(key: Key, observations: int, actions: int, config: Config) -> Learner:
    """Untrained networks for observations and actions of these sizes."""
    policy_key, *keys = jax.random.split(key, 3)
    policy = policy_network(policy_key, observations, actions, config.hidden)
    first, second = (network(k, (observations + actions, *config.hidden, 1)) for k in keys)
    critics, adam = (first, second), optax.adam(config.learning_rate)
    log_temperature = TrainState.create(jnp.zeros(()), adam)
    return Learner(TrainState.create(policy, adam), TrainState.create(critics, adam), critics, log_temperature)


@dataclass(frozen=True)
class SAC:
    """Soft actor-critic."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> State:
        config, body = self.config, self.family.body
        learner = new_learner(key, body.observation_size, body.action_size, config)
        visits = iterations_held(config.n_iterations)
        return State(learner, new_replay(self.family, config.episodes, visits, config.initial_episodes))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        draw_key, begin_key, task_key, episode_key, learn_key = jax.random.split(key, 5)
        config, replay, actor = self.config, state.replay, state.learner.actor
        if not replay.n:
            tasks = self.family.space.sample(draw_key, config.initial_episodes)
            replay = replay.begin(self._episodes(actor, tasks, 1, begin_key)[0])
        tasks = self.family.space.sample(task_key, config.episodes)
        rows, metrics = self._episodes(actor, tasks, 1, episode_key)
        replay = with_rows(replay, rows)
        learner, learned = gradient_steps(state.learner, replay, learn_key, config)
        return State(learner, replay), metrics | {name: float(x) for name, x in learned.items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 6."""
        config, empty = self.config, new_replay(self.family, self.config.episodes, KEPT_STAGES)
        return adaptation(
            state.learner,
            empty,
            tasks,
            key,
            policy=lambda learner: learner.actor,
            collect=lambda learner, task, k: self._episodes(learner.actor, task, config.episodes, k)[0],
            learn=lambda learner, _, replay, k: gradient_steps(learner, replay, k, config)[0],
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
