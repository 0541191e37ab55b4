"""DDPG: deep deterministic policy gradient (Lillicrap et al. 2016) with adaptive parameter noise.

Algorithm 1 of https://arxiv.org/abs/1509.02971; the noise is that of Plappert et al. 2018
(https://arxiv.org/abs/1706.01905, §3). For one task or the mean of all.

    1: initialise the actor π, the critic Q, their targets π̄ and Q̄, the deviation σ of the noise
    2: for n_iterations                                                                            `step`
    3:     real episodes into replay, each of its own task and with an actor whose weights have
           noise of N(0, σ²) for the whole episode                                                 `perturbed`
    4:     as many times as there were episodes                                                    `gradient_steps`
    5:         σ by 1.01 up where noise moves actions less than δ, else down                       `adapted`
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
import optax
from jaxtyping import Array, Float

from onebody.algorithms.model_free.replayed import KEPT_STAGES, adaptation, collect, new_replay, with_rows
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.core import random
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, fan_in, normed_relu, normed_tanh, renormalized, uniform
from onebody.core.types import Key
from onebody.learning.off_policy import averaged, repeated, value
from onebody.learning.policies import DeterministicPolicy, for_each
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator

FACTOR = 1.01
"""Factor by which σ is raised or lowered (Plappert et al. 2018, Appendix C)"""
LAST = 3e-3
"""Limit of the last layers' initial weights (Lillicrap et al. 2016, §7)"""


@dataclass(frozen=True)
class Config:
    """As in MB-MPO's comparison (Clavera et al. 2018), whose code sets what the papers leave open."""

    n_iterations: int = 200
    """Iterations of training"""
    episodes: int = 25
    """Real episodes per iteration, each of a task of its own, and per task and stage of adaptation"""
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
    """Share τ of the new weights in those of the target networks per gradient step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "n_gradient", "batch", "hidden", "critic_hidden")
        at_least(0, self, "critic_l2", "discount")
        positive(self, "learning_rate", "critic_rate", "noise", "target_rate")
        at_most(1, self, "discount", "target_rate")


class Learner(eqx.Module):
    """All networks, with their optimisers."""

    actor: TrainState[MLP]
    critic: TrainState[MLP]
    targets: tuple[MLP, MLP]
    """of actor and critic"""
    observation: Normalizer
    """of the inputs of all networks"""
    deviation: Float[Array, ""]
    """Standard deviation σ of the parameter noise"""

    @property
    def policy(self) -> DeterministicPolicy:
        return DeterministicPolicy(self.actor.module, self.observation)

    def renormalized(self, rows: Rows) -> "Learner":
        """The same actions and values, with some more rows in the statistics of observations."""
        new = self.observation.update(rows.observation)
        where = lambda l: (l.actor.module, l.critic.module, *l.targets)  # noqa: E731, E741
        nets = [renormalized(self, new, lambda l, i=i: where(l)[i]) for i in range(4)]  # noqa: E741
        return replace(eqx.tree_at(where, self, [where(each)[i] for i, each in enumerate(nets)]), observation=new)


class State(eqx.Module):
    """State of a training run."""

    learner: Learner
    replay: TaskReplay


def action(actor: MLP, inputs: Float[Array, "*axes observation"]) -> Float[Array, "*axes action"]:
    """π(s), of normalised observations."""
    return jnp.tanh(actor(inputs))


def critic_loss(critic: MLP, inputs: Array, action: Array, target: Array, l2: float) -> tuple[Array, dict[str, Array]]:
    """Mean squared error of Q from its target, plus the penalty of its weights."""
    predicted = value(critic, inputs, action)
    error = jnp.mean((predicted - target) ** 2)
    size = sum(jnp.vdot(weight, weight) for weight in critic.weights)
    return error + l2 / 2 * size, {"critic/error": jnp.sqrt(error), "critic/value": predicted.mean()}


def actor_loss(actor: MLP, critic: MLP, inputs: Array) -> tuple[Array, None]:
    """-Q(s, π(s)), whose gradient is the deterministic policy gradient."""
    return -value(critic, inputs, action(actor, inputs)).mean(), None


def update(learner: Learner, batch: Rows, config: Config) -> tuple[Learner, dict[str, Array]]:
    """Line 7, on a batch [row, ...]."""
    inputs, next_inputs = learner.observation(batch.observation), learner.observation(batch.next_observation)
    target_actor, target_critic = learner.targets
    next_value = value(target_critic, next_inputs, action(target_actor, next_inputs))
    target = batch.reward + config.discount * (1 - batch.terminated) * next_value
    critic, metrics = learner.critic.minimize(
        lambda critic: critic_loss(critic, inputs, batch.action, target, config.critic_l2),
        optax.adam(config.critic_rate),
    )
    actor, _ = learner.actor.minimize(
        lambda actor: actor_loss(actor, critic.module, inputs), optax.adam(config.learning_rate)
    )
    targets = averaged(learner.targets, (actor.module, critic.module), config.target_rate)
    return replace(learner, actor=actor, critic=critic, targets=targets), metrics


def perturbed(actor: MLP, deviation: Float[Array, ""], key: Key) -> MLP:
    """The actor with noise on all its weights and biases."""
    leaves, structure = jax.tree.flatten(actor)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + deviation * random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def adapted(
    learner: Learner, observation: Float[Array, "row observation"], key: Key, config: Config
) -> tuple[Learner, Float[Array, ""]]:
    """Line 5, by the distance between actions with and without noise on a batch; and that distance."""
    actor, inputs = learner.actor.module, learner.observation(observation)
    difference = action(perturbed(actor, learner.deviation, key), inputs) - action(actor, inputs)
    distance = jnp.sqrt(jnp.mean(difference**2))
    factor = jnp.where(distance < config.noise, FACTOR, 1 / FACTOR)
    return replace(learner, deviation=learner.deviation * factor), distance


@partial(jax.jit, static_argnames=("config",))
def gradient_steps(
    learner: Learner, rows: Rows, replay: TaskReplay, key: Key, config: Config
) -> tuple[Learner, dict[str, Array]]:
    """Lines 4-7, from the newest rows, which enter the statistics of observations, and a replay that has them."""

    def after_episode(learner: Learner, key: Key) -> tuple[Learner, dict[str, Array]]:
        noise_key, batch_key = jax.random.split(key)
        steps = config.n_gradient + 1
        drawn = replay.draw(batch_key, jnp.zeros(1, jnp.int32), steps * config.batch)
        batches = jax.tree.map(lambda x: x.reshape(steps, config.batch, *x.shape[2:]), drawn)
        learner, distance = adapted(learner, batches.observation[-1], noise_key, config)
        learner, metrics = repeated(partial(update, config=config), learner, jax.tree.map(lambda x: x[:-1], batches))
        return learner, metrics | {"policy/noise": learner.deviation, "policy/noise_distance": distance}

    return repeated(after_episode, learner.renormalized(rows), jax.random.split(key, config.episodes))


@jax.jit
def explorers(learner: Learner, keys: Array) -> DeterministicPolicy:
    """Policies with noise of their own, stacked."""
    actors = jax.vmap(lambda key: perturbed(learner.actor.module, learner.deviation, key))(keys)
    return DeterministicPolicy(actors, for_each(learner.observation, len(keys)))


@partial(jax.jit, static_argnames=("observations", "actions", "config"))
def new_learner(key: Key, observations: int, actions: int, config: Config) -> Learner:
    """Untrained networks for observations and actions of these sizes."""
    actor_key, critic_key = jax.random.split(key)

    def new(key: Key, sizes: tuple[int, ...], activation: Callable[[Array], Array]) -> MLP:
        return MLP(key, sizes, activation, [fan_in(1.0)] * (len(sizes) - 2) + [uniform(LAST)])

    actor = new(actor_key, (observations, *config.hidden, actions), normed_tanh)
    critic = new(critic_key, (observations + actions, *config.critic_hidden, 1), normed_relu)
    return Learner(
        TrainState.create(actor, optax.adam(config.learning_rate)),
        TrainState.create(critic, optax.adam(config.critic_rate)),
        (actor, critic),
        Normalizer(observations),
        jnp.array(config.noise, jnp.float32),
    )


@dataclass(frozen=True)
class DDPG:
    """Deep deterministic policy gradient."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> State:
        config, body = self.config, self.family.body
        learner = new_learner(key, body.observation_size, body.action_size, config)
        return State(learner, new_replay(self.family, config.episodes, iterations_held(config.n_iterations)))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        task_key, episode_key, learn_key = jax.random.split(key, 3)
        tasks = self.family.space.sample(task_key, self.config.episodes)
        rows, metrics = self._episodes(state.learner, tasks, episode_key)
        replay = with_rows(state.replay, rows)
        learner, learned = gradient_steps(state.learner, rows, replay, learn_key, self.config)
        return State(learner, replay), metrics | {name: float(x) for name, x in learned.items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 8."""
        config = self.config
        return adaptation(
            state.learner,
            new_replay(self.family, config.episodes, KEPT_STAGES),
            tasks,
            key,
            policy=lambda learner: learner.policy,
            collect=lambda learner, task, k: self._episodes(learner, jnp.repeat(task, config.episodes, axis=0), k)[0],
            learn=lambda learner, rows, replay, k: gradient_steps(learner, rows, replay, k, config)[0],
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
