import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from onebody.algorithms import presets
from onebody.algorithms.maml import maml, promp
from onebody.algorithms.model_free import on_policy, oracle
from onebody.algorithms.model_free import trpo as trpo_algorithm
from onebody.core import random
from onebody.core.gaussian import Gaussian
from onebody.core.nets import Normalizer
from onebody.learning import linear_baseline, trpo
from onebody.learning.actor_critic import ValueConfig
from onebody.learning.policies import GaussianPolicy, for_each, with_task
from onebody.learning.trpo import TRPOConfig
from onebody.runs import evaluate, policy_file
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")


@functools.partial(jax.jit, static_argnames="scale")
def new_policy(seed, scale=1.0):
    return GaussianPolicy(jax.random.key(seed), (8,), Normalizer(2), 2, action_scale=scale)


distribution = jax.jit(GaussianPolicy.distribution)
inner_step = jax.jit(maml.inner_step, static_argnames="loss")


@functools.partial(jax.jit, static_argnames=("tasks", "rows"))
def random_batch(key, tasks=3, rows=40):
    keys = jax.random.split(key, 4)
    observation, action = random.normal(keys[0], (tasks, rows, 2)), random.normal(keys[1], (tasks, rows, 2))
    taken = Gaussian(0.3 * random.normal(keys[2], (tasks, rows, 2)), jnp.zeros((tasks, 2)))
    return maml.Batch(observation, action, random.normal(keys[3], (tasks, rows)), taken)


@pytest.fixture(scope="module")
def problem():
    """The outer objective of a small policy, as a function of its flat parameters."""
    policy = new_policy(0)
    before, after = (random_batch(jax.random.key(1)), random_batch(jax.random.key(3))), random_batch(jax.random.key(2))
    flat, unravel = ravel_pytree((policy.net, policy.log_std))

    def objective(flat, loss, steps, second_order=True):
        moved = eqx.tree_at(lambda p: (p.net, p.log_std), policy, unravel(flat))
        now = maml.adapted_distribution(moved, before[:steps], after, 0.3, loss, second_order)
        return jnp.mean(now.log_prob(after.action) * after.advantage)

    return objective, flat


@pytest.mark.parametrize(("loss", "steps"), [(maml.likelihood, 2), (promp.ratio, 1)])
def test_the_meta_gradient_is_that_of_finite_differences(problem, loss, steps):
    objective, flat = problem
    slope = jax.jit(jax.grad(objective), static_argnums=(1, 2, 3))
    exact, plain = (np.asarray(slope(flat, loss, steps, second)) for second in (True, False))
    direction = exact - plain  # where the second order matters most
    direction = direction / np.linalg.norm(direction)
    with jax.enable_x64(True):
        wide = np.float64(flat)
        value = jax.jit(objective, static_argnums=(1, 2))
        up, down = (value(wide + s * 1e-3 * np.float64(direction), loss, steps) for s in (1, -1))
        numeric = (float(up) - float(down)) / 2e-3
    np.testing.assert_allclose(exact @ direction, numeric, rtol=1e-2, atol=1e-4)
    assert abs(float(plain @ direction) - numeric) > 0.05 * abs(numeric)


def test_the_two_inner_losses_agree_in_their_gradient_alone(problem):
    """At the policy that took the actions the ratio's gradient is the likelihood's; their second derivatives differ."""
    batch = jax.tree.map(lambda x: np.asarray(x)[0], random_batch(jax.random.key(1)))
    batch = batch._replace(taken=distribution(new_policy(0), batch.observation))

    def one(mean, loss):
        return loss(Gaussian(mean, batch.taken.log_std), jax.tree.map(jax.device_put, batch))

    slope = jax.jit(jax.grad(one), static_argnums=1)
    first, second = (slope(batch.taken.mean, loss) for loss in (maml.likelihood, promp.ratio))
    np.testing.assert_allclose(first, second, atol=1e-6)

    @functools.partial(jax.jit, static_argnums=0)
    def curvature(loss):
        return jax.jvp(lambda mean: jax.grad(one)(mean, loss), (batch.taken.mean,), (first,))[1]

    assert np.abs(np.subtract(curvature(maml.likelihood), curvature(promp.ratio))).max() > 1e-6


def test_scaled_actions_are_learned_as_those_that_are_not():
    """The same network, its actions a tenth as large (ProMP's environments): the same inner step."""
    plain, scaled = (new_policy(0, scale) for scale in (1.0, 0.1))
    batch = jax.tree.map(lambda x: np.asarray(x)[0], random_batch(jax.random.key(1)))
    taken, unscaled = (distribution(policy, batch.observation) for policy in (scaled, plain))
    np.testing.assert_allclose(np.exp(taken.log_std), 0.1, rtol=1e-5)
    np.testing.assert_allclose(taken.mean, 0.1 * np.asarray(unscaled.mean), atol=1e-7)
    for loss in (maml.likelihood, promp.ratio):
        both = [
            inner_step(policy, batch._replace(action=np.float32(action), taken=taken), 0.3, loss)
            for policy, action, taken in ((plain, batch.action, unscaled), (scaled, 0.1 * batch.action, taken))
        ]
        assert np.abs(np.subtract(both[0].net.weights[0], plain.net.weights[0])).max() > 1e-4
        np.testing.assert_allclose(both[0].net.weights[0], both[1].net.weights[0], atol=1e-5)
        np.testing.assert_allclose(both[0].log_std, both[1].log_std, atol=1e-5)


def test_a_batch_of_tasks_is_a_loop_of_tasks():
    policy = new_policy(0)
    batch = random_batch(jax.random.key(1))
    together = maml.inner_step_each(for_each(policy, len(batch.observation)), batch, 0.3, maml.likelihood)
    for i in range(3):
        alone = inner_step(policy, jax.tree.map(lambda x, i=i: np.asarray(x)[i], batch), 0.3, maml.likelihood)
        np.testing.assert_allclose(np.asarray(together.net.weights[0])[i], alone.net.weights[0], atol=1e-6)
        np.testing.assert_allclose(np.asarray(together.log_std)[i], alone.log_std, atol=1e-6)


def test_each_inner_step_has_episodes_of_the_policy_before_it():
    config = dataclasses.replace(presets.preset("maml", "smoke"), inner_steps=2, inner_rate=0.2)
    simulator = Simulator(FAMILY)
    policy = maml.new_policy(FAMILY, jax.random.key(0), config)
    before, after, metrics = maml.meta_batch(simulator, policy, jax.random.key(1), config, maml.likelihood)
    assert simulator.samples == 3 * config.meta_batch * config.episodes * FAMILY.horizon
    adapted_distribution = jax.jit(maml.adapted_distribution, static_argnums=(3, 4))
    for i, result in enumerate([*before, after]):
        expected = adapted_distribution(policy, before[:i], result, 0.2, maml.likelihood)
        np.testing.assert_allclose(result.taken.mean, expected.mean, atol=1e-5)
    moved = np.abs(np.subtract(distribution(policy, after.observation).mean, after.taken.mean)).max()
    assert len(before) == 2 and moved > 1e-3 and set(metrics) == {"real/return", "real/adapted_return"}


def test_promps_inner_kl_is_the_mean_over_the_policies_before_each_inner_step():
    config = dataclasses.replace(presets.preset("promp", "smoke"), inner_steps=2, inner_rate=0.2)
    policy, other = (new_policy(i) for i in (0, 1))
    first, second, after = (random_batch(jax.random.key(i)) for i in range(3))
    first = first._replace(taken=Gaussian(distribution(policy, first.observation).mean, jnp.zeros((3, 2))))
    each = jax.jit(jax.vmap(GaussianPolicy.distribution))
    adapted = maml.inner_step_each(for_each(policy, 3), first, 0.2, promp.ratio)
    second = second._replace(taken=each(adapted, second.observation))
    outer_loss = jax.jit(promp.outer_loss, static_argnums=3)
    apart = lambda policy: outer_loss(policy, (first, second), after, config)[1]["policy/inner_kl"]  # noqa: E731
    assert abs(float(apart(policy))) < 1e-5
    at_first = np.subtract(first.taken.mean, distribution(other, first.observation).mean)
    moved = maml.inner_step_each(for_each(other, 3), first, 0.2, promp.ratio)
    now = each(moved, second.observation)
    kls = [0.5 * (at_first**2).sum(-1).mean()]
    old, new = (Gaussian(x.mean, np.asarray(x.log_std)[:, None]) for x in (second.taken, now))
    kls.append(np.mean(jax.jit(Gaussian.kl)(old, new)))
    np.testing.assert_allclose(apart(other), np.mean(kls), rtol=1e-4)


def train(kind, config):
    algorithm = kind(FAMILY, config, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    for i in range(algorithm.config.n_iterations):
        state, metrics = algorithm.step(state, jax.random.key(i + 1))
    assert np.isfinite(list(metrics.values())).all()
    return algorithm, state


def reached(algorithm, state, stages, n=20):
    tasks = FAMILY.space.held_out(n)
    result, used = zip(*evaluate.stages_of(algorithm, state, tasks, stages, seed=0), strict=True)
    return [float(evaluate.real_return(FAMILY, a.policies, tasks).mean()) for a in result], list(used)


SMALL = {"meta_batch": 10, "episodes": 10, "hidden": (16, 16)}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (maml.MAML, maml.Config(15, inner_rate=0.5, **SMALL)),
        (promp.ProMP, promp.Config(20, inner_rate=0.5, learning_rate=1e-2, **SMALL)),
    ],
)
def test_one_step_adapts_to_unseen_goals(kind, config):
    """Standing still has -16.4 over these goals, going straight there -2.6."""
    algorithm, state = train(kind, config)
    (before, after), samples = reached(algorithm, state, 1)
    assert samples == [0, config.episodes * FAMILY.horizon]
    assert before < -12 and after > -8.5
    untrained, _ = reached(algorithm, algorithm.init(jax.random.key(0)), 1)
    assert untrained[1] < after - 2


def test_two_inner_steps_adapt_to_unseen_goals():
    """Standing still has -16.4 over these goals, going straight there -2.6; untrained, two steps come to -12.9."""
    config = maml.Config(8, inner_rate=0.3, inner_steps=2, **SMALL)
    algorithm, state = train(maml.MAML, config)
    (before, once, twice), _ = reached(algorithm, state, 2)
    assert before < -12 and once > before + 3 and once + 1 < twice > -10, (before, once, twice)


@pytest.mark.parametrize(("inner_steps", "rates"), [(1, (0.2, 0.1)), (2, (0.2, 0.2, 0.1))])
def test_stages_beyond_those_of_training_take_half_a_step(inner_steps, rates):
    config = dataclasses.replace(presets.preset("maml", "smoke"), inner_rate=0.2, inner_steps=inner_steps)
    algorithm = maml.MAML(FAMILY, config, Simulator(FAMILY))
    state, tasks, key = algorithm.init(jax.random.key(0)), FAMILY.space.held_out(2), jax.random.key(0)
    stages = [a for _, a in zip(range(len(rates) + 1), algorithm.adapt(state, tasks, key))]
    for i, rate in enumerate(rates):
        policies, own = stages[i].policies, jax.random.fold_in(key, i)
        batch, _ = maml.explore(algorithm.simulator, policies, tasks, own, config, config.episodes)
        expected = maml.inner_step_each(policies, batch, rate, maml.likelihood)
        np.testing.assert_allclose(expected.net.weights[0], stages[i + 1].policies.net.weights[0], atol=1e-6)


def best_return(tasks, starts):
    """Both axes at full speed until there: the optimum, since rewards fall with the distance on each axis."""
    total = 0.0
    for task, start in zip(tasks, starts, strict=True):
        place = np.array(start)
        for _ in range(FAMILY.horizon):
            place = place + np.clip(task - place, -0.1, 0.1)
            total -= np.linalg.norm(place - task)
    return total / len(tasks)


@pytest.fixture(scope="module")
def tuned():
    """Training of the oracle with few samples."""
    value = ValueConfig(epochs=3, batch=256, learning_rate=5e-3)
    step = TRPOConfig(max_kl=0.02, cg_iterations=6, entropy=0.0)
    return train(oracle.Oracle, trpo_algorithm.Config(100, episodes=50, hidden=(32, 32), value=value, trpo=step))


def test_the_oracle_reaches_the_optimum_of_the_point(tuned):
    (result,), samples = reached(*tuned, 0)
    tasks = np.asarray(FAMILY.space.held_out(20))
    best = best_return(tasks, np.zeros_like(tasks))
    assert -3.2 < best < -2.2 and samples == [0]
    assert result > 1.1 * best


@pytest.fixture(scope="module")
def published():
    """Training of the oracle as MAML's authors published it, cut short."""
    return train(oracle.Oracle, dataclasses.replace(presets.preset("oracle", "published"), n_iterations=30))


def test_the_published_oracle_learns_the_point(published):
    """Standing still has -16.4, the optimum -2.5."""
    (result,), samples = reached(*published, 0)
    assert result > -3.5 and samples == [0]


def test_the_published_oracle_has_its_network_and_raw_observations(published):
    _, state = published
    assert [weight.shape for weight in state.policy.net.weights] == [(4, 100), (100, 100), (100, 2)]
    weights, biases = ([np.asarray(x) for x in part] for part in (state.policy.net.weights, state.policy.net.biases))
    for observation in np.float32([[[0.3, -0.2, 0.5, 0.1]], [[30.0, -20.0, 5.0, 1.0]]]):  # no statistics, no tanh
        x = observation
        for weight, bias in zip(weights[:2], biases[:2], strict=True):
            x = np.maximum(x @ weight + bias, 0)
        expected = x @ weights[2] + biases[2]
        np.testing.assert_allclose(distribution(state.policy, observation).mean, expected, rtol=1e-4)


def test_a_step_of_the_published_oracle_takes_advantages_of_the_linear_baseline_without_decay(published):
    algorithm, state = published
    tasks = FAMILY.space.sample(jax.random.key(1), algorithm.config.episodes)
    transitions, _ = on_policy.collect(algorithm.simulator, state.policy, tasks, 1, jax.random.key(2))
    both = transitions.observation, transitions.next_observation
    now, then = jax.jit(lambda *both: [with_task(x, tasks[:, None, None]) for x in both])(*both)
    transitions = transitions._replace(observation=now, next_observation=then)
    improved, _ = trpo_algorithm.update(state, transitions, jax.random.key(3), algorithm.config)
    rows = jax.tree.map(lambda x: np.swapaxes(np.asarray(x)[:, :, 0], 0, 1), transitions)  # [time, episode]
    advantage = np.asarray(jax.jit(linear_baseline.advantages, static_argnums=(1, 2))(rows, 0.99, 1.0))
    flat = (x.reshape(-1, *x.shape[2:]) for x in (rows.observation, rows.action, advantage))
    expected, _ = jax.jit(trpo.update, static_argnums=4)(state.policy, *flat, algorithm.config.trpo)
    policies = state.policy, improved.policy, expected
    before, result, expected = (np.asarray(policy.net.weights[1]) for policy in policies)
    assert np.linalg.norm(result - expected) < 0.02 * np.linalg.norm(expected - before)


def test_trpo_learns_a_task_in_stages():
    config = trpo_algorithm.Config(1, episodes=2, refine_episodes=40, hidden=(16, 16))
    algorithm = trpo_algorithm.TRPO(FAMILY, config, Simulator(FAMILY))
    returns, samples = reached(algorithm, algorithm.init(jax.random.key(0)), 8, n=2)
    assert returns[-1] > returns[0] + 3
    assert samples == [i * 40 * FAMILY.horizon for i in range(9)]


@pytest.mark.parametrize("training", ["tuned", "published"])
def test_a_saved_oracle_acts_as_it_does(tmp_path, training, request):
    algorithm, state = request.getfixturevalue(training)
    tasks = FAMILY.space.held_out(2)
    policies = next(algorithm.adapt(state, tasks, jax.random.key(0))).policies
    act = policy_file.load(policy_file.save(policies, tasks[0], tmp_path / "policy.npz"))
    observation = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    own = eqx.filter_jit(state.policy)(observation, tasks[0], (), np.zeros((5, 2)))[0]
    np.testing.assert_allclose(act(observation), np.clip(own, -1, 1), atol=1e-5)


def test_some_rows_are_of_all_episodes_and_times():
    rows = np.arange(400, dtype=np.float32)[None]  # [time, episode], flat: 20 x 20
    taken = Gaussian(rows[..., None], np.zeros((1, 1), np.float32))
    batch = maml.Batch(rows[..., None], rows[..., None], rows, taken)
    chosen = np.asarray(jax.jit(maml.Batch.subset, static_argnums=1)(batch, 20).advantage)[0].astype(int)
    assert len(set(chosen)) == 20 and len(set(chosen % 20)) > 8 and len(set(chosen // 20)) > 8
