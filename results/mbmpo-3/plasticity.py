"""Maps of a training on the 2-D point, and their correlations: python plasticity.py RUN … > maps.json; draws `figure.png`

How far the policy moves when it adapts: KL(π_θ ‖ π_θ'_k) in nats, mean over the imaginary tasks k and over draws of their episodes.
How far the models are apart: deviation of the members' predictions where the policy would act, root mean square of both axes, in m.
Control: how far the policy moves when all imaginary tasks are in one and the same model, so that models cannot disagree.

Runs at commit a9b8f46.
"""

import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms import maml, mb_mpo
from onebody.learning.policies import for_each
from onebody.runs import folder

SIDE, WIDTH = 41, 2.0
DRAWS = 20
"""times that the policy adapts, each in new imagined episodes"""


def maps(run):
    record = folder.read_config(run)
    algorithm = folder.build(record)
    state = folder.latest(run, record, folder.initial_state(record, algorithm)).state
    config, members, policy = algorithm.config, state.models.members, state.policy
    policies = for_each(policy, config.meta_batch)
    line = jnp.linspace(-WIDTH, WIDTH, SIDE)
    states = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    here = policy.distribution(states)

    @eqx.filter_jit
    def moved(members, key):
        before, _ = mb_mpo.imagine(state.models, members, policies, key, algorithm.family, config)
        adapted = maml.inner_step_each(policies, before, config.inner_rate, maml.likelihood)
        return jnp.stack([here.kl(one.distribution(states)) for one in each(adapted, config.meta_batch)]).mean(0)

    predicted = jnp.stack([model(states, here.mean) for model in each(members, config.model.members)])
    apart = jnp.sqrt(jnp.mean(predicted.std(0) ** 2, axis=-1))
    alone = [
        jax.tree.map(lambda x, i=i: jnp.broadcast_to(x[i], x.shape), members) for i in range(config.model.members)
    ]
    keys = jax.random.split(jax.random.key(0), DRAWS)
    in_all, in_one = (np.stack([moved(one, key) for one in those for key in keys]) for those in ([members], alone))
    return in_all.mean(0), np.asarray(apart), in_one.mean(0)


def each(stacked, n):
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(n)]


def correlation(one, other):
    return float(np.corrcoef(one, other)[0, 1])


def ranks(values):
    return np.argsort(np.argsort(values))


def beside_ring(values):
    """What a state has beside the mean of all states that are as far from the goal, in steps of 0.1 m."""
    line = np.linspace(-WIDTH, WIDTH, SIDE)
    ring = np.round(np.hypot(*np.meshgrid(line, line)).ravel() / 0.1).astype(int)
    return values - (np.bincount(ring, values) / np.maximum(np.bincount(ring), 1))[ring]


def main():
    runs = [Path(name) for name in sys.argv[1:]]
    figure = Figure(figsize=(11, 3 * len(runs)), layout="constrained")
    found = []
    for run, places in zip(runs, figure.subplots(len(runs), 3, squeeze=False), strict=True):
        moved, apart, control = maps(run)
        drawings = {
            "KL(π_θ ‖ π_θ') (nats)": moved,
            "deviation of the models (m)": apart,
            "KL less that in one model (nats)": moved - control,
        }
        for place, (title, values) in zip(places, drawings.items(), strict=True):
            side = [-WIDTH, WIDTH, -WIDTH, WIDTH]
            drawn = place.imshow(values.reshape(SIDE, SIDE), origin="lower", extent=side, cmap="viridis")
            place.set_title(f"{run.name}: {title}", fontsize=9)
            figure.colorbar(drawn, ax=place)
        found.append(
            {
                "run": run.name,
                "pearson": correlation(moved, apart),
                "spearman": correlation(ranks(moved), ranks(apart)),
                "pearson_at_equal_distance": correlation(beside_ring(moved), beside_ring(apart)),
                "pearson_control": correlation(control, apart),
                "pearson_above_control": correlation(moved - control, apart),
                "mean_kl": float(moved.mean()),
                "mean_kl_control": float(control.mean()),
            }
        )
    figure.savefig(Path(__file__).parent / "figure.png", dpi=90)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
