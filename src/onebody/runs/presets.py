"""The algorithms by name, and their settings: `paper` (as published, or as in the code released with the paper;
docs/presets.md lists what differs), `released` (later code of the paper's authors, where it differs), `laptop` (two
cores, minutes), `smoke` (seconds)."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any

from onebody.algorithms import (
    acktr,
    active_smt,
    admrl,
    ddpg,
    maesn,
    maml,
    mb_mpc,
    mb_mpo,
    me_trpo,
    omni,
    oracle,
    pearl,
    ppo,
    promp,
    random_search,
    rl2,
    sac_baseline,
    slbo,
    smt,
    trpo_baseline,
)
from onebody.algorithms.stage import StageConfig
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.learning.actor_critic import ValueConfig
from onebody.learning.dynamics import DynamicsConfig
from onebody.learning.ensemble import EnsembleConfig
from onebody.learning.first_order import FirstOrderConfig
from onebody.learning.kfac import KFACConfig
from onebody.learning.planning import PlanConfig
from onebody.learning.trpo import TRPOConfig
from onebody.learning.validated import ValidatedConfig
from onebody.tasks import mbmpo, registry
from onebody.tasks.family import TaskFamily

ALGORITHMS: dict[str, type[Any]] = {
    "omni": omni.OMNI,
    "smt": smt.SMT,
    "slbo": slbo.SLBO,
    "smt-active": active_smt.ActiveSMT,
    "admrl": admrl.AdMRL,
    "mb-unif": admrl.AdMRL,
    "mb-gauss": admrl.AdMRL,
    "pearl": pearl.PEARL,
    "maesn": maesn.MAESN,
    "maml": maml.MAML,
    "promp": promp.ProMP,
    "rl2": rl2.RL2,
    "mb-mpo": mb_mpo.MBMPO,
    "me-trpo": me_trpo.METRPO,
    "mb-mpc": mb_mpc.MBMPC,
    "oracle": oracle.Oracle,
    "trpo": trpo_baseline.TRPO,
    "acktr": acktr.ACKTR,
    "ppo": ppo.PPO,
    "sac": sac_baseline.SAC,
    "ddpg": ddpg.DDPG,
    "random-search": random_search.RandomSearch,
}

_TASKS = {"mb-unif": "uniform", "mb-gauss": "gaussian"}
"""names of AdMRL that say which tasks it trains on"""

_LAPTOP = StageConfig(
    n_inner=10,
    n_model=200,
    n_policy=30,
    model=DynamicsConfig(hidden=(256, 256)),
    value=ValueConfig(epochs=3, learning_rate=2e-3),
    trpo=TRPOConfig(cg_iterations=6),
)
_LAPTOP_TASK = dataclasses.replace(_LAPTOP, n_inner=2)  # its practice comes before its samples
_SMOKE = StageConfig(
    n_inner=2,
    n_model=20,
    n_policy=4,
    real_episodes=4,
    imagined_episodes=8,
    model=DynamicsConfig(hidden=(32, 32), batch=32),
    value=ValueConfig(hidden=(16, 16), batch=64, epochs=2),
    trpo=TRPOConfig(),
)
_LAPTOP_SMT = smt.Config(n_tasks=40, n_warmup=8, slbo=_LAPTOP_TASK)
_SMOKE_SMT = smt.Config(n_tasks=3, n_warmup=2, slbo=_SMOKE)
_ADMRL = {
    "paper": admrl.Config(),
    "published": admrl.Config(),
    # numbers of stages, iterations and gradient steps in the proportions of `paper`
    "laptop": admrl.Config(
        real_episodes=6,
        smt=smt.Config(
            n_tasks=20,
            n_warmup=8,
            n_slbo=3,
            slbo=dataclasses.replace(
                _LAPTOP,
                n_inner=4,
                n_model=100,
                n_policy=20,
                real_episodes=6,
                model=DynamicsConfig(hidden=(256, 256), window=1, batch=256),
            ),
        ),
    ),
    "smoke": admrl.Config(real_episodes=4, imagined_episodes=8, smt=_SMOKE_SMT),
}
_LAPTOP_MODELS = ValidatedConfig(hidden=(256, 256))
_RLLAB_STEP = TRPOConfig(entropy=0.0, damping=1e-5, backtracks=15, shrink=0.8)
_PUBLISHED_ORACLE = oracle.Config(
    n_iterations=975,
    hidden=(100, 100),
    activation="relu",
    normalize=False,
    baseline="linear",
    trace=1.0,
    trpo=_RLLAB_STEP,
)
_SMOKE_MODELS = ValidatedConfig(members=2, hidden=(32, 32), batch=32, epochs=5)
_CONFIGS: dict[tuple[str, str], Any] = {
    ("omni", "paper"): omni.Config(),
    ("omni", "laptop"): omni.Config(),
    ("omni", "demo"): omni.Config(n_iterations=10),
    ("omni", "smoke"): omni.Config(
        n_iterations=3,
        real_episodes=4,
        n_model=40,
        n_updates=20,
        n_refine=10,
        n_refine_model=10,
        model=EnsembleConfig(members=2, hidden=(32, 32), batch=32),
        policy=FirstOrderConfig(hidden=(16, 16), batch=32, window=5),
    ),
    ("pearl", "paper"): pearl.Config(meta_batch=10, extra_episodes=2),
    ("pearl", "released"): pearl.Config(),
    ("pearl", "laptop"): pearl.Config(n_iterations=20),
    ("pearl", "smoke"): pearl.Config(
        n_iterations=2,
        n_tasks=4,
        initial_episodes=2,
        visited=2,
        posterior_episodes=2,
        n_gradient=5,
        meta_batch=3,
        batch=8,
        context_rows=8,
        hidden=(16, 16),
        encoder=(16, 16),
    ),
    ("maesn", "paper"): maesn.Config(episodes=50, hidden=(100, 100), activation="relu", trpo=_RLLAB_STEP),
    ("maesn", "laptop"): maesn.Config(n_iterations=100),
    ("maesn", "smoke"): maesn.Config(n_iterations=2, n_tasks=4, meta_batch=3, episodes=3, hidden=(16, 16)),
    ("maml", "paper"): maml.Config(hidden=(100, 100), activation="relu", trpo=_RLLAB_STEP),
    ("maml", "laptop"): maml.Config(n_iterations=100, meta_batch=20),
    ("maml", "smoke"): maml.Config(n_iterations=2, meta_batch=3, episodes=3, hidden=(16, 16)),
    ("mb-mpo", "paper"): mb_mpo.Config(),
    ("mb-mpo", "laptop"): mb_mpo.Config(n_iterations=25, episodes=20, model=_LAPTOP_MODELS),
    ("mb-mpo", "smoke"): mb_mpo.Config(
        n_iterations=2,
        meta_batch=4,
        episodes=4,
        n_meta=2,
        hidden=(16, 16),
        real_episodes=4,
        refine_episodes=4,
        model=_SMOKE_MODELS,
    ),
    ("me-trpo", "paper"): me_trpo.Config(),
    ("me-trpo", "laptop"): me_trpo.Config(n_iterations=25, episodes=50, model=_LAPTOP_MODELS),
    ("me-trpo", "smoke"): me_trpo.Config(
        n_iterations=2, real_episodes=4, n_policy=5, episodes=4, hidden=(16, 16), model=_SMOKE_MODELS
    ),
    ("mb-mpc", "paper"): mb_mpc.Config(plan=PlanConfig(discount=0.99)),
    ("mb-mpc", "laptop"): mb_mpc.Config(
        n_iterations=10, real_episodes=5, plan=PlanConfig(method="icem", candidates=200), model=_LAPTOP_MODELS
    ),
    ("mb-mpc", "smoke"): mb_mpc.Config(
        n_iterations=2, real_episodes=4, plan=PlanConfig(steps=4, candidates=20, elites=4), model=_SMOKE_MODELS
    ),
    ("promp", "paper"): promp.Config(action_scale=0.1),
    ("promp", "laptop"): promp.Config(n_iterations=100, meta_batch=20),
    ("promp", "smoke"): promp.Config(n_iterations=2, meta_batch=3, episodes=3, hidden=(16, 16)),
    ("rl2", "paper"): rl2.Config(),
    ("rl2", "laptop"): rl2.Config(n_iterations=100, normalize=True, n_minibatches=10, trace=0.95),
    ("rl2", "smoke"): rl2.Config(n_iterations=2, meta_batch=4, units=16, n_epochs=2),
    ("oracle", "published"): _PUBLISHED_ORACLE,
    ("oracle", "paper"): _PUBLISHED_ORACLE,
    ("oracle", "tuned"): oracle.Config(),
    ("oracle", "laptop"): oracle.Config(n_iterations=200),
    ("oracle", "smoke"): oracle.Config(n_iterations=2, episodes=4, hidden=(16, 16)),
    ("trpo", "paper"): trpo_baseline.Config(),
    ("trpo", "laptop"): trpo_baseline.Config(n_iterations=200),
    ("trpo", "smoke"): trpo_baseline.Config(n_iterations=2, episodes=4, refine_episodes=2, hidden=(16, 16)),
    ("acktr", "paper"): acktr.Config(),
    ("acktr", "laptop"): acktr.Config(
        n_iterations=200,
        policy=KFACConfig(rate=0.03, radius=0.005, damping=0.01, decay=0.8),
        value=KFACConfig(rate=0.01, radius=0.0375, damping=0.025, decay=0.95),
    ),
    ("acktr", "smoke"): acktr.Config(
        n_iterations=2, episodes=4, refine_episodes=2, hidden=(16, 16), value_hidden=(16, 16), n_value=3
    ),
    ("ppo", "paper"): ppo.Config(),
    ("ppo", "laptop"): ppo.Config(n_iterations=100, episodes=50, n_minibatches=50, hidden=(64, 64)),
    ("ppo", "smoke"): ppo.Config(
        n_iterations=2, episodes=4, n_epochs=2, n_minibatches=4, refine_episodes=2, hidden=(16, 16)
    ),
    ("sac", "paper"): sac_baseline.Config(),
    ("sac", "laptop"): sac_baseline.Config(n_iterations=40),
    ("sac", "smoke"): sac_baseline.Config(n_iterations=2, episodes=2, n_gradient=5, batch=16, hidden=(16, 16)),
    ("ddpg", "paper"): ddpg.Config(),
    ("ddpg", "laptop"): ddpg.Config(n_iterations=40),
    ("ddpg", "smoke"): ddpg.Config(
        n_iterations=2, episodes=2, n_gradient=5, batch=16, hidden=(16, 16), critic_hidden=(16, 16)
    ),
    ("random-search", "paper"): random_search.Config(),
    ("random-search", "laptop"): random_search.Config(),
    ("random-search", "smoke"): random_search.Config(n_iterations=2, directions=4),
    ("slbo", "paper"): slbo.Config(stage=StageConfig(real_episodes=50)),
    ("slbo", "laptop"): slbo.Config(n_outer=10, stage=_LAPTOP),
    ("slbo", "smoke"): slbo.Config(n_outer=2, stage=_SMOKE),
    ("smt", "paper"): smt.Config(),
    ("smt", "laptop"): _LAPTOP_SMT,
    ("smt", "smoke"): _SMOKE_SMT,
    ("smt", "demo"): smt.Config(n_tasks=16, n_warmup=8, slbo=_LAPTOP_TASK),
    ("smt-active", "paper"): active_smt.Config(),
    ("smt-active", "laptop"): active_smt.Config(tries=3, smt=_LAPTOP_SMT),
    ("smt-active", "smoke"): active_smt.Config(window=1, tries=2, real_episodes=2, smt=_SMOKE_SMT),
    **{
        (name, preset): dataclasses.replace(config, tasks=tasks)
        for name, tasks in {"admrl": "adversarial", **_TASKS}.items()
        for preset, config in _ADMRL.items()
    },
}
_POINT: dict[str, Any] = {"n_gradient": 1000, "reward_scale": 100.0}
_SPARSE = _POINT | {
    "visited": 10,
    "prior_episodes": 5,
    "posterior_episodes": 45,
    "extra_episodes": 0,
    "context_rows": 1000,
    "exploration_episodes": 5,
    "kl": 1.0,
    "discount": 0.9,
}
_DENSE = _POINT | {"prior_episodes": 10, "extra_episodes": 10, "context_rows": 64, "exploration_episodes": 1}
_DIRECTION = {"prior_episodes": 5, "extra_episodes": 5, "meta_batch": 4, "context_rows": 256}
_PARAMETERS = {"n_gradient": 4000, "meta_batch": 10}
_ANT_DIRECTIONS = ("smt/ant-dir", "smt/ant-low-friction", "smt/ant-crippled")
_HUMANOIDS = ("smt/humanoid-vel", "smt/humanoid-vel-wide")
_ANT_VELOCITIES = ("smt/ant-vel", "smt/ant-vel-wide", "smt/ant-vel-2d", "smt/ant-pos-to-neg")
_8000_SAMPLES = StageConfig(real_episodes=40, imagined_episodes=40)
_FOR_FAMILY: dict[tuple[str, str, str], dict[str, Any]] = {
    **{
        (name, "paper", family): settings
        for name, settings in (
            ("smt", {"slbo": _8000_SAMPLES}),
            ("smt-active", {"smt": smt.Config(slbo=_8000_SAMPLES)}),
        )
        for family in (*_ANT_VELOCITIES, *_ANT_DIRECTIONS, *_HUMANOIDS)
    },
    **{("maml", "paper", family): {"episodes": 40} for family in (*_ANT_DIRECTIONS, *_HUMANOIDS)},
    ("maesn", "laptop", "pearl/sparse-point"): {"n_iterations": 313},
    ("maml", "paper", "maml/point"): {"n_iterations": 100, "inner_rate": 0.5},
    ("promp", "paper", "pearl/humanoid-dir"): {"hidden": (128, 128)},
    ("promp", "paper", "pearl/ant-goal"): {"inner_steps": 2},
    **{
        ("promp", "paper", family): {"inner_rate": 0.05, "inner_kl": 1e-3}
        for family in ("pearl/walker-params", "pearl/hopper-params")
    },
    **{
        ("trpo", "paper", family.id): {
            "episodes": 250,
            "hidden": (32, 32),
            "normalize": False,
            "baseline": "linear",
            "trace": 1.0,
            "trpo": _RLLAB_STEP,
        }
        for family in mbmpo.FAMILIES
    },
    **{("acktr", "paper", family.id): {"hidden": (32, 32)} for family in mbmpo.FAMILIES},
    ("mb-mpo", "paper", "mbmpo/point"): {
        "n_iterations": 50,
        "meta_batch": 40,
        "real_episodes": 10,
        "episodes": 150,
        "model": ValidatedConfig(hidden=(128, 128)),
    },
    ("pearl", "paper", "pearl/cheetah-dir"): _DIRECTION,
    ("pearl", "paper", "pearl/ant-dir"): {"n_gradient": 4000, "meta_batch": 4, "context_rows": 256},
    ("pearl", "paper", "pearl/ant-goal"): _DIRECTION
    | {"n_gradient": 1000, "meta_batch": 10, "context_rows": 32, "kl": 5.0},
    ("pearl", "paper", "pearl/humanoid-dir"): {"n_gradient": 4000, "context_rows": 256},
    ("pearl", "paper", "pearl/point"): _DENSE | {"meta_batch": 16},
    ("pearl", "paper", "pearl/sparse-point"): _SPARSE | {"meta_batch": 16},
    ("pearl", "released", "pearl/cheetah-dir"): _DIRECTION,
    ("pearl", "released", "pearl/ant-dir"): {"n_gradient": 4000, "meta_batch": 4, "context_rows": 256},
    ("pearl", "released", "pearl/ant-goal"): {
        "n_tasks": 150,
        "n_gradient": 4000,
        "meta_batch": 10,
        "context_rows": 256,
        "kl": 1.0,
    },
    ("pearl", "released", "pearl/humanoid-dir"): {"n_gradient": 4000, "context_rows": 256},
    ("pearl", "released", "pearl/walker-params"): _PARAMETERS,
    ("pearl", "released", "pearl/hopper-params"): _PARAMETERS,
    ("pearl", "released", "pearl/point"): _DENSE,
    ("pearl", "released", "pearl/sparse-point"): _SPARSE,
    ("pearl", "laptop", "pearl/sparse-point"): {
        "n_iterations": 500,
        "n_gradient": 500,
        "batch": 64,
        "context_rows": 100,
        "hidden": (128, 128, 128),
        "encoder": (128, 128, 128),
        "learning_rate": 1e-3,
    },
}
"""what differs for a family; `laptop` has what `released` has, and what is its own"""


def algorithm(name: str) -> type[Any]:
    """The class of an algorithm.

    Raises:
        OnebodyError: there is none of this name; names the nearest ones.
    """
    if name not in ALGORITHMS:
        raise OnebodyError(f"no algorithm {name!r}{did_you_mean(name, ALGORITHMS)}")
    return ALGORITHMS[name]


def check(name: str, config: Any) -> None:
    """Raises OnebodyError where settings deny what the name of the algorithm says."""
    if name in _TASKS and config.tasks != _TASKS[name]:
        raise OnebodyError(
            f"{name} has tasks {_TASKS[name]}, not {config.tasks}: use admrl --config.tasks {config.tasks}"
        )


def preset(name: str, preset: str, family: str | TaskFamily = "") -> Any:
    """The `Config` of an algorithm under a preset, with a family's own settings where there are such.

    Raises:
        OnebodyError: no such algorithm, preset or family; names the nearest ones.
    """
    algorithm(name)
    if (name, preset) not in _CONFIGS:
        known = [p for n, p in _CONFIGS if n == name]
        raise OnebodyError(f"no preset {preset!r} of {name}{did_you_mean(preset, known)}")
    if isinstance(family, TaskFamily):
        family = family.id
    made = registry.make(family).id if family else ""
    own: dict[str, Any] = {}
    for kind in ("released", "laptop") if preset == "laptop" else (preset,):
        own |= _FOR_FAMILY.get((name, kind, made), {})
    return dataclasses.replace(_CONFIGS[name, preset], **own)


def to_json(config: Any) -> dict[str, Any]:
    """A (nested) config dataclass as `config.json` has it."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(config: type[Any], values: Mapping[str, Any]) -> Any:
    """A (nested) config dataclass from what `to_json` made of it."""
    types = typing.get_type_hints(config)

    def value(kind: Any, given: Any) -> Any:
        if dataclasses.is_dataclass(kind):
            return from_json(typing.cast(type, kind), given)
        return tuple(given) if isinstance(given, list) else given

    return config(**{name: value(types[name], given) for name, given in values.items()})
