"""ProMP: proximal meta-policy search (Rothfuss, Lee, Clavera, Asfour, Abbeel 2019), Algorithm 1.

    1: initialise the policy θ
    2: for n_iterations                                                                  `step`
    3:     a meta-batch as MAML's (its lines 3-6), the inner loss a likelihood ratio     `ratio`
    4:     for n_epochs: one step of Adam up Σ_i clipped surrogate of θ'_i(θ) - η KL(π_θo ‖ π_θ)   `outer_loss`
    5: adaptation as MAML's

θo is the policy that collected line 3; θ' is differentiated through as in MAML. With several inner steps the KL is
the mean over the policies before each, as in the released code. The ratio's value is no estimate of
anything at θ = θo, but its second derivative is that of the expected return with little variance (their §5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from onebody.algorithms.maml.maml import Batch, Before, Meta, adaptation, adapted_distribution, meta_batch, new_policy
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import at_least, positive
from onebody.core.gaussian import Gaussian
from onebody.core.types import Key
from onebody.learning.policies import GaussianPolicy
from onebody.learning.ppo import clipped_surrogate
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.worlds.check import check_hidden
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config(Meta):
    """ProMP, appendix and released configuration; the preset `paper` has its scale of actions, too."""

    n_iterations: int = 1001
    """Meta-iterations of training"""
    n_epochs: int = 5
    """Adam steps per meta-iteration, each on the whole meta-batch"""
    learning_rate: float = 1e-3
    """Adam's learning rate for the policy before adaptation"""
    clip: float = 0.3
    """Clip range ε of the outer likelihood ratio"""
    inner_kl: float = 5e-4
    """Coefficient η of the inner KL penalty"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "n_epochs")
        at_least(0, self, "inner_kl")
        positive(self, "learning_rate", "clip")


def ratio(now: Gaussian, batch: Batch) -> Float[Array, ""]:
    """The inner loss (their Eq. 9's term of one task)."""
    return -jnp.mean(jnp.exp(now.log_prob(batch.action) - batch.taken.log_prob(batch.action)) * batch.advantage)


def outer_loss(policy: GaussianPolicy, before: Before, after: Batch, config: Config) -> tuple[Array, dict[str, Array]]:
    """Line 4's objective (their Eq. 11), to be made small."""
    now = adapted_distribution(policy, before, after, config.inner_rate, ratio)
    taken = _taken(after)
    gain = jnp.exp(now.log_prob(after.action) - taken.log_prob(after.action))
    surrogate = clipped_surrogate(gain, after.advantage, config.clip)
    kls = [
        _taken(batch).kl(adapted_distribution(policy, before[:i], batch, config.inner_rate, ratio)).mean()
        for i, batch in enumerate(before)
    ]
    inner = jnp.stack(kls).mean()
    metrics = {"policy/kl": taken.kl(now).mean(), "policy/inner_kl": inner, "policy/surrogate": surrogate}
    return config.inner_kl * inner - surrogate, metrics


def _taken(batch: Batch) -> Gaussian:
    """Of each action [task, row, action]; the rows of a task share a standard deviation."""
    return Gaussian(batch.taken.mean, batch.taken.log_std[:, None])


@partial(jax.jit, static_argnames=("config",))
def outer_steps(
    policy: TrainState[GaussianPolicy], before: Before, after: Batch, config: Config
) -> tuple[TrainState[GaussianPolicy], dict[str, Array]]:
    """Line 4."""
    loss = partial(outer_loss, before=before, after=after, config=config)

    def step(policy: TrainState[GaussianPolicy], _: None) -> tuple[TrainState[GaussianPolicy], None]:
        return policy.minimize(loss, optax.adam(config.learning_rate))[0], None

    policy, _ = jax.lax.scan(step, policy, None, length=config.n_epochs)
    return policy, loss(policy.module)[1]


@dataclass(frozen=True)
class ProMP:
    """Proximal meta-policy search."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> TrainState[GaussianPolicy]:
        check_hidden(self.family)
        policy = new_policy(self.family, key, self.config)
        return TrainState.create(policy, optax.adam(self.config.learning_rate))

    def step(self, state: TrainState[GaussianPolicy], key: Key) -> tuple[TrainState[GaussianPolicy], Metrics]:
        before, after, metrics = meta_batch(self.simulator, state.module, key, self.config, ratio)
        state, outer = outer_steps(state, before, after, self.config)
        return state, metrics | {name: float(value) for name, value in outer.items()}

    def adapt(
        self, state: TrainState[GaussianPolicy], tasks: Float[Array, "task feature"], key: Key
    ) -> Iterator[Adapted]:
        return adaptation(self.simulator, state.module, tasks, key, self.config, self.config.episodes, ratio)


_PARAMETERS = {"inner_rate": 0.05, "inner_kl": 1e-3}

SPEC = AlgorithmSpec(
    ProMP,
    presets={
        "paper": Config(action_scale=0.1),
        "laptop": Config(n_iterations=100, meta_batch=20),
        "smoke": Config(n_iterations=2, meta_batch=3, episodes=3, hidden=(16, 16)),
    },
    family_settings={
        ("paper", "pearl/humanoid-dir"): {"hidden": (128, 128)},
        ("paper", "pearl/ant-goal"): {"inner_steps": 2},
        ("paper", "pearl/walker-params"): _PARAMETERS,
        ("paper", "pearl/hopper-params"): _PARAMETERS,
    },
)
