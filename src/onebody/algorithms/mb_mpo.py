"""MB-MPO: model-based reinforcement learning via meta-policy optimisation (Clavera et al. 2018), Algorithm 1.

    1: initialise the policy θ and the models; D ← real episodes with random actions                    `step`
    2: for n_iterations
    3:     D ← D ∪ a real episode with each adapted policy θ'_k of the last line 7
    4:     fit each model on its own split of D until its validation loss no longer falls               `fit`
    5:     n_meta times                                                                                 `meta_step`
    6:         for each imaginary task, a model: imagined episodes with π_θ; θ'_k = θ - α ∇ L_k(θ)
    7:         imagined episodes with π_θ'_k; θ ← one step of TRPO on Σ_k L_k(θ'_k), through line 6
    8: a new ψ: policy gradient steps from θ on real episodes                                `maml.adaptation`

MAML's meta-step with models in the place of tasks. The models know dynamics and the family's own reward; the task is
one. As in the released code, line 3 has the policies adapted before the last outer step, and imagined observations stay
within ±1000; the share of steps that this cuts is a metric. Unlike there, Hessian-vector products are exact, and
imagined actions are clipped to [-1, 1] where the reward sees them, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms import maml
from onebody.algorithms.maml import Seen, likelihood
from onebody.algorithms.protocol import Adapted, Metrics
from onebody.core.errors import at_least
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning import validated
from onebody.learning.ensemble import Member
from onebody.learning.policies import GaussianPolicy, UniformPolicy, for_each
from onebody.learning.replay import Replay
from onebody.learning.validated import Validated, ValidatedConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

CAPACITY = 100_000
"""newest real transitions that are kept"""
LIMIT = 1000.0
"""of imagined observations, on each side"""


@dataclass(frozen=True)
class Config(maml.Config):
    """The released settings; `episodes` are imagined ones of a task, before and after the inner step."""

    n_iterations: int = 100
    meta_batch: int = 20
    episodes: int = 50
    inner_rate: float = 1e-3
    hidden: tuple[int, ...] = (32, 32)
    real_episodes: int = 20
    """real episodes an iteration"""
    refine_episodes: int = 20
    """real episodes a stage of adaptation"""
    n_meta: int = 30
    """meta-steps an iteration"""
    tailored: bool = True
    """collect with the adapted policies, or with the one before adaptation"""
    task: tuple[float, ...] | None = None
    """ψ to train on; None: a draw from p(ψ)"""
    model: ValidatedConfig = field(default_factory=ValidatedConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "real_episodes", "refine_episodes", "n_meta")


class State(eqx.Module):
    """Everything of a training."""

    policy: GaussianPolicy
    adapted: GaussianPolicy
    """of each imaginary task"""
    model: Validated
    data: Replay
    starts: Float[Array, "start observation"]
    task: Float[Array, "1 feature"]


class Bounded(eqx.Module):
    """A model whose predictions stay within a range."""

    model: Member

    def __call__(self, observation: Array, action: Array) -> Array:
        return jnp.clip(jnp.nan_to_num(self.model(observation, action), nan=LIMIT), -LIMIT, LIMIT)


def imagine(
    state: State, models: Member, policies: GaussianPolicy, key: Key, family: TaskFamily, config: Config
) -> tuple[Seen, dict[str, Array]]:
    """Episodes of each imaginary task's policy in its model; models are dealt out in turn."""
    members = len(models.net.biases[0])
    each = -(-config.meta_batch // members)  # tasks a model, the last ones may be left out
    dealt = jnp.arange(members * each) % config.meta_batch
    grouped = jax.tree.map(lambda x: x[dealt].reshape(members, each, *x.shape[1:]), policies)
    tasks = jnp.broadcast_to(state.task, (each, state.task.shape[-1]))

    def one(row: tuple[Member, GaussianPolicy, Key]) -> tuple[Array, ...]:
        model, policies, key = row
        world = Imagination(family, Bounded(model), state.starts)
        return rollout(world, policies, tasks, key, episodes=config.episodes)

    found = jax.lax.map(one, (models, grouped, jax.random.split(key, members)))
    found = jax.tree.map(lambda x: x.reshape(members * each, *x.shape[2:])[: config.meta_batch], found)
    cut = jnp.any(jnp.abs(found.next_observation) >= LIMIT, axis=-1).mean()
    returns = first_episode_return(found.reward, found.done).mean()
    return maml.seen(policies, found, config), {"return": returns, "cut": cut}


def meta_step(
    state: State, models: Member, key: Key, family: TaskFamily, config: Config
) -> tuple[State, dict[str, Array]]:
    """Lines 6-7."""
    before_key, after_key = jax.random.split(key)
    policies = for_each(state.policy, jnp.arange(config.meta_batch))
    before, first = imagine(state, models, policies, before_key, family, config)
    adapted = maml.inner_steps(policies, before, config.inner_rate, likelihood)
    after, then = imagine(state, models, adapted, after_key, family, config)
    policy, metrics = maml.outer_step(state.policy, before, after, config)
    imagined = {"imagined/return": first["return"], "imagined/adapted_return": then["return"]}
    state = eqx.tree_at(lambda s: (s.policy, s.adapted), state, (policy, adapted))
    return state, metrics | imagined | {"imagined/cut": jnp.maximum(first["cut"], then["cut"])}


@partial(jax.jit, static_argnames=("family", "config"))
def improve(state: State, key: Key, family: TaskFamily, config: Config) -> tuple[State, dict[str, Array]]:
    """Line 5."""
    models = state.model.models()
    step = lambda state, key: meta_step(state, models, key, family, config)  # noqa: E731
    state, metrics = jax.lax.scan(step, state, jax.random.split(key, config.n_meta))
    return state, jax.tree.map(lambda x: x[-1], metrics) | {"imagined/cut": metrics["imagined/cut"].max()}


@partial(jax.jit, static_argnames=("config",))
def fit(state: State, key: Key, config: ValidatedConfig) -> tuple[State, dict[str, Array]]:
    """Line 4."""
    model, metrics = validated.fit(state.model, state.data, key, config)
    return eqx.tree_at(lambda s: s.model, state, model), {name: x.mean() for name, x in metrics.items()}


@dataclass(frozen=True)
class MBMPO:
    """Model-based meta-policy optimisation."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    def init(self, key: Key) -> State:
        config, family = self.config, self.family
        family.needs_one_model()
        task_key, policy_key, model_key, start_key = jax.random.split(key, 4)
        drawn = family.space.sample(task_key, 1)
        sizes = family.body.observation_size, family.body.action_size
        policy = maml.new_policy(family, policy_key, config)
        return State(
            policy,
            for_each(policy, jnp.arange(config.meta_batch)),
            Validated(model_key, *sizes, config.model),
            Replay.empty(CAPACITY, *sizes),
            self.simulator.starts(start_key),
            drawn if config.task is None else family.parse(config.task)[None],
        )

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        collect_key, fit_key, meta_key = jax.random.split(key, 3)
        state, metrics = self._collect(state, collect_key)
        state, fitted = fit(state, fit_key, self.config.model)
        state, improved = improve(state, meta_key, self.family, self.config)
        return state, metrics | {name: float(x) for name, x in (fitted | improved).items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 8."""
        config = replace(self.config, episodes=self.config.refine_episodes)
        return maml.adaptation(self.simulator, state.policy, tasks, key, config, likelihood)

    def _collect(self, state: State, key: Key) -> tuple[State, Metrics]:
        """Lines 1 and 3."""
        n, actions = self.config.real_episodes, self.family.body.action_size
        turn = jnp.arange(n) % self.config.meta_batch
        policies = jax.tree.map(lambda x: x[turn], state.adapted)
        if not self.config.tailored:
            policies = for_each(state.policy, turn)
        if not state.data.size:
            policies = for_each(UniformPolicy(actions), turn)
        seen = rollout(self.simulator, policies, jnp.tile(state.task, (n, 1)), key, episodes=1)
        where = lambda s: (s.data, s.model)  # noqa: E731
        state = eqx.tree_at(where, state, (state.data.add(seen), state.model.renormalize(seen)))
        return state, {"real/return": float(first_episode_return(seen.reward, seen.done).mean())}
