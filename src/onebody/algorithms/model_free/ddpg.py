"""DDPG (Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971, Algorithm 1) with adaptive parameter noise
(Plappert et al. 2018, https://arxiv.org/abs/1706.01905, §3), for one task or the mean of all.

    1: initialise the actor π, the critic Q, their targets π̄ and Q̄, the deviation σ of the noise
    2: for n_iterations                                                                            `step`
    3:     real episodes into replay, each of its own task and with an actor whose weights have
           noise of N(0, σ²) for the whole episode                                                 `perturbed`
    4:     as many times as there were episodes                                                    `improve`
    5:         σ by 1.01 up where noise moves actions less than wanted, else down                  `adapted`
    6:         n_gradient times, for a batch of transitions                                        `update`
    7:             Q towards r + γ Q̄(s', π̄(s')) `critic_loss`, π up Q(s, π(s)) `actor_loss`;
                   π̄ and Q̄ follow slowly
    8: a new ψ: stage 0 is the policy as it is; each stage lines 3-7 for ψ alone, with a replay of its own   `adapt`

The policy does not see ψ: untrained (`--samples 0`) and adapted in stages it is the usual single-task baseline.

Differences from the papers: layer normalisation has no gain and bias, and stands in place of batch normalisation; the
critic sees actions in its first layer; the noise is on the weights alone, not on actions; a block of episodes, then
one of gradient steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from onebody.algorithms.model_free.replayed import REMEMBERED, adaptation, collect, new_replay, visited
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core import random
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, fan_in, normed_relu, normed_tanh, renormalized, uniform
from onebody.core.types import Key
from onebody.learning.off_policy import averaged, descend, new_optimizer, repeated, value
from onebody.learning.policies import DeterministicPolicy
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator

FACTOR = 1.01
"""by which σ goes up or down (Plappert et al. 2018, Appendix C)"""
LAST = 3e-3
"""limit of the last layers' initial weights (Lillicrap et al. 2016, §7)"""


@dataclass(frozen=True)
class Config:
    """As in MB-MPO's comparison (Clavera et al. 2018), whose code sets what the papers leave open."""

    n_iterations: int = 200
    """Iterations of training"""
    episodes: int = 25
    """Real episodes per iteration, each of its own task; as many per task and stage of adaptation"""
    n_gradient: int = 50
    """Gradient steps per real episode"""
    batch: int = 64
    """Transitions per gradient step"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of the actor"""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the critic"""
    learning_rate: float = 1e-5
    """Adam's learning rate for the actor"""
    critic_rate: float = 1e-3
    """Adam's learning rate for the critic"""
    critic_l2: float = 0.01
    """Coefficient of half the sum of the critic's squared weights in its loss"""
    noise: float = 0.2
    """Root mean square distance δ between actions with and without parameter noise that the noise is adapted to; also
    the initial standard deviation σ of that noise"""
    discount: float = 0.99
    """Discount factor γ"""
    target_rate: float = 0.01
    """Share of the new weights in those of the target networks per gradient step, τ"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "n_gradient", "batch", "hidden", "critic_hidden")
        at_least(0, self, "critic_l2", "discount")
        positive(self, "learning_rate", "critic_rate", "noise", "target_rate")
        at_most(1, self, "discount", "target_rate")


class Learner(eqx.Module):
    """What learns, and what its optimisers remember."""

    actor: MLP
    critic: MLP
    targets: tuple[MLP, MLP]
    """of actor and critic"""
    observation: Normalizer
    """of the inputs of all networks"""
    deviation: Float[Array, ""]
    """σ of the parameter noise"""
    optimizers: tuple[PyTree, PyTree]

    @property
    def policy(self) -> DeterministicPolicy:
        return DeterministicPolicy(self.actor, self.observation)

    def renormalized(self, rows: Rows) -> "Learner":
        """With rows more in the statistics of observations, and the same actions and values."""
        new = self.observation.update(rows.observation)
        parts = (lambda l: l.actor, lambda l: l.critic, lambda l: l.targets[0], lambda l: l.targets[1])  # noqa: E741
        nets = tuple(part(renormalized(self, new, part)) for part in parts)
        return replace(self, actor=nets[0], critic=nets[1], targets=nets[2:], observation=new)


class State(eqx.Module):
    """Everything of a training."""

    learner: Learner
    replay: TaskReplay


def action(actor: MLP, seen: Float[Array, "*axes observation"]) -> Float[Array, "*axes action"]:
    """π(s), of normalised observations."""
    return jnp.tanh(actor(seen))


def critic_loss(critic: MLP, seen: Array, action: Array, target: Array, l2: float) -> tuple[Array, dict[str, Array]]:
    """Mean squared error of Q from its target, plus the penalty of its weights."""
    found = value(critic, seen, action)
    error = jnp.mean((found - target) ** 2)
    size = sum(jnp.vdot(weight, weight) for weight in critic.weights)
    return error + l2 / 2 * size, {"critic/error": jnp.sqrt(error), "critic/value": found.mean()}


def actor_loss(actor: MLP, critic: MLP, seen: Array) -> Array:
    """-Q(s, π(s)), whose gradient is the deterministic policy gradient."""
    return -value(critic, seen, action(actor, seen)).mean()


def update(learner: Learner, rows: Rows, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 7, on a batch [row, ...]."""
    seen, following = learner.observation(rows.observation), learner.observation(rows.next_observation)
    target_actor, target_critic = learner.targets
    later = value(target_critic, following, action(target_actor, following))
    target = rows.reward + config.discount * (1 - rows.terminated) * later
    differentiated = eqx.filter_grad(critic_loss, has_aux=True)
    gradient, metrics = differentiated(learner.critic, seen, rows.action, target, config.critic_l2)
    critic, critic_state = descend(config.critic_rate, learner.critic, gradient, learner.optimizers[1])
    gradient = eqx.filter_grad(actor_loss)(learner.actor, critic, seen)
    actor, actor_state = descend(config.learning_rate, learner.actor, gradient, learner.optimizers[0])
    targets = averaged(learner.targets, (actor, critic), config.target_rate)
    optimizers = actor_state, critic_state
    return replace(learner, actor=actor, critic=critic, targets=targets, optimizers=optimizers), metrics


def perturbed(actor: MLP, deviation: Float[Array, ""], key: Key) -> MLP:
    """The actor with noise on all its weights and biases."""
    leaves, structure = jax.tree.flatten(actor)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + deviation * random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def adapted(
    learner: Learner, observation: Float[Array, "row observation"], key: Key, config: Config
) -> tuple[Learner, Float[Array, ""]]:
    """Line 5, by how far noise moves the actions of a batch; and that distance."""
    seen = learner.observation(observation)
    moved = action(perturbed(learner.actor, learner.deviation, key), seen) - action(learner.actor, seen)
    distance = jnp.sqrt(jnp.mean(moved**2))
    factor = jnp.where(distance < config.noise, FACTOR, 1 / FACTOR)
    return replace(learner, deviation=learner.deviation * factor), distance


@partial(jax.jit, static_argnames=("config",))
def improve(
    learner: Learner, rows: Rows, replay: TaskReplay, key: Key, config: Config
) -> tuple[Learner, dict[str, Array]]:
    """Lines 4-7, from the newest rows, which enter the statistics of observations, and a replay that has them."""

    def after_episode(learner: Learner, key: Key) -> tuple[Learner, dict[str, Array]]:
        noise_key, draw_key = jax.random.split(key)
        steps = config.n_gradient + 1
        drawn = replay.draw(draw_key, jnp.zeros(1, jnp.int32), steps * config.batch)
        batches = jax.tree.map(lambda x: x.reshape(steps, config.batch, *x.shape[2:]), drawn)
        learner, distance = adapted(learner, batches.observation[-1], noise_key, config)
        learner, metrics = repeated(partial(update, config=config), learner, jax.tree.map(lambda x: x[:-1], batches))
        return learner, metrics | {"policy/noise": learner.deviation, "policy/noise_distance": distance}

    return repeated(after_episode, learner.renormalized(rows), jax.random.split(key, config.episodes))


@jax.jit
def explorers(learner: Learner, keys: Array) -> DeterministicPolicy:
    """Policies with noise of their own, stacked."""
    actors = jax.vmap(lambda key: perturbed(learner.actor, learner.deviation, key))(keys)
    seen = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(keys), *x.shape)), learner.observation)
    return DeterministicPolicy(actors, seen)


@dataclass(frozen=True)
class DDPG:
    """Deep deterministic policy gradient."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> State:
        config, body = self.config, self.family.body
        seen, actions = body.observation_size, body.action_size
        actor_key, critic_key = jax.random.split(key)

        def new(key: Key, sizes: tuple[int, ...], activation: Callable[[Array], Array]) -> MLP:
            return MLP(key, sizes, activation, [fan_in(1.0)] * (len(sizes) - 2) + [uniform(LAST)])

        actor = new(actor_key, (seen, *config.hidden, actions), normed_tanh)
        critic = new(critic_key, (seen + actions, *config.critic_hidden, 1), normed_relu)
        optimizers = new_optimizer(config.learning_rate, actor), new_optimizer(config.critic_rate, critic)
        noise = jnp.asarray(config.noise, jnp.float32)
        learner = Learner(actor, critic, (actor, critic), Normalizer(seen), noise, optimizers)
        return State(learner, new_replay(self.family, config.episodes, config.n_iterations))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        task_key, episode_key, learn_key = jax.random.split(key, 3)
        tasks = self.family.space.sample(task_key, self.config.episodes)
        rows, metrics = self._episodes(state.learner, tasks, episode_key)
        replay = visited(state.replay, rows)
        learner, found = improve(state.learner, rows, replay, learn_key, self.config)
        return State(learner, replay), metrics | {name: float(x) for name, x in found.items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 8."""
        config = self.config
        return adaptation(
            state.learner,
            new_replay(self.family, config.episodes, REMEMBERED),
            tasks,
            key,
            policy=lambda learner: learner.policy,
            collect=lambda learner, task, k: self._episodes(learner, jnp.tile(task, (config.episodes, 1)), k)[0],
            improve=lambda learner, rows, replay, k: improve(learner, rows, replay, k, config)[0],
        )

    def _episodes(self, learner: Learner, tasks: Array, key: Key) -> tuple[Rows, Metrics]:
        """Line 3."""
        noise_key, episode_key = jax.random.split(key)
        policies = explorers(learner, jax.random.split(noise_key, len(tasks)))
        return collect(self.simulator, policies, tasks, 1, episode_key)


SPEC = AlgorithmSpec(
    DDPG,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=40),
        "smoke": Config(n_iterations=2, episodes=2, n_gradient=5, batch=16, hidden=(16, 16), critic_hidden=(16, 16)),
    },
)
