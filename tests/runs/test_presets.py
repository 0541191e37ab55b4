"""Published settings, number by number, as the publications have them; docs/presets.md lists what differs."""

import re
from pathlib import Path

import pytest

from onebody.algorithms import presets
from onebody.tasks import registry

SMT_SAMPLES = {"cheetah": 4000, "ant": 8000, "humanoid": 8000}


@pytest.mark.parametrize("family", [name for name in registry.families() if re.match("smt/(?!.*-test)", name)])
def test_smt_takes_the_samples_of_the_paper(family):
    horizon = registry.make(family).horizon
    config = presets.preset("smt", "paper", family)
    samples = SMT_SAMPLES[family.removeprefix("smt/").split("-")[0]]
    assert config.slbo.real_episodes * horizon == config.slbo.imagined_episodes * horizon == samples
    assert (config.n_tasks, config.n_warmup, config.slbo.n_inner, config.slbo.n_model) == (100, 40, 20, 100)
    assert presets.preset("smt-active", "paper", family).smt.slbo == config.slbo
    laptop = presets.preset("smt", "laptop", family)
    assert laptop.slbo.real_episodes * horizon == 4000


def test_slbo_takes_ten_thousand_samples_a_stage_and_four_thousand_imagined_ones_a_step():
    stage, horizon = presets.preset("slbo", "paper").stage, registry.make("smt/cheetah-vel").horizon
    assert (stage.real_episodes * horizon, stage.imagined_episodes * horizon) == (10_000, 4000)


@pytest.mark.parametrize(
    ("family", "episodes"),
    [("cheetah-vel", 20), ("ant-vel", 20), ("ant-dir", 40), ("humanoid-vel", 40), ("maml/cheetah-dir", 20)],
)
def test_maml_has_its_own_network_and_the_episodes_of_smts_comparison(family, episodes):
    config = presets.preset("maml", "paper", family)
    assert (config.hidden, config.activation, config.inner_rate, config.trace) == ((100, 100), "relu", 0.1, 1.0)
    assert (config.n_iterations, config.meta_batch, config.episodes) == (500, 40, episodes)
    assert (config.trpo.max_kl, config.trpo.damping, config.trpo.backtracks, config.trpo.shrink) == (
        0.01,
        1e-5,
        15,
        0.8,
    )


def test_promp_explores_a_tenth_of_the_range_of_actions():
    config = presets.preset("promp", "paper")
    assert (config.hidden, config.activation, config.action_scale) == ((64, 64), "tanh", 0.1)
    varied = presets.preset("promp", "paper", "pearl/walker-params")
    assert (varied.inner_rate, varied.inner_kl, config.inner_rate, config.inner_kl) == (0.05, 1e-3, 0.1, 5e-4)


def test_maesn_has_the_settings_of_the_released_ant():
    config = presets.preset("maesn", "paper")
    assert (config.n_tasks, config.meta_batch, config.episodes, config.n_iterations) == (100, 20, 50, 500)
    assert (config.latent, config.inner_rate, config.kl, config.inner_steps) == (2, 1.0, 0.1, 1)
    assert (config.hidden, config.activation, config.trpo.max_kl) == ((100, 100), "relu", 0.01)
    laptop, pearl = (presets.preset(name, "laptop", "pearl/sparse-point") for name in ("maesn", "pearl"))
    episodes = 80 * pearl.initial_episodes + pearl.n_iterations * pearl.visited * 50
    assert 2 * laptop.meta_batch * laptop.episodes * laptop.n_iterations == pytest.approx(episodes, rel=0.002)


def test_the_published_oracle_takes_twenty_thousand_samples_an_iteration():
    published, paper, tuned = (presets.preset("oracle", name) for name in ("published", "paper", "tuned"))
    assert published == paper and published.episodes * registry.make("cheetah-vel").horizon == 20_000
    assert (published.n_iterations, published.trace, published.discount) == (975, 1.0, 0.99)
    assert (published.trpo.max_kl, published.trpo.entropy) == (0.01, 0.0)
    assert (tuned.hidden, tuned.activation, tuned.baseline, tuned.normalize) == ((64, 64), "tanh", "network", True)
    assert tuned.trace == 0.95


@pytest.mark.parametrize("robot", ["half-cheetah", "swimmer", "ant", "hopper", "walker2d", "arm-reacher"])
def test_trpo_takes_fifty_thousand_samples_an_iteration_on_the_robots_of_mb_mpo(robot):
    config = presets.preset("trpo", "paper", f"mbmpo/{robot}")
    assert config.episodes * registry.make(f"mbmpo/{robot}").horizon == 50_000
    assert (config.hidden, config.activation, config.normalize) == ((32, 32), "tanh", False)
    assert (config.baseline, config.trace, config.discount, config.n_iterations) == ("linear", 1.0, 0.99, 1000)
    assert (config.trpo.max_kl, config.trpo.damping, config.trpo.entropy) == (0.01, 1e-5, 0.0)
    assert presets.preset("trpo", "paper", "cheetah-vel").baseline == "network"


def test_ppo_has_the_batches_of_mb_mpos_comparison():
    config = presets.preset("ppo", "paper", "mbmpo/half-cheetah")
    assert config.episodes * registry.make("mbmpo/half-cheetah").horizon == 50_000 and config.hidden == (32, 32)
    assert (config.n_minibatches, config.n_epochs, config.clip, config.learning_rate) == (25, 10, 0.2, 3e-4)
    assert (config.discount, config.trace, config.value_weight, config.max_norm) == (0.99, 0.95, 0.5, 0.5)


def test_acktr_has_the_steps_of_the_released_code():
    """There the value's error is not halved: a rate of 0.001, a damping of 0.1 and a KL of 0.3, twice the radius."""
    config = presets.preset("acktr", "paper", "mbmpo/half-cheetah")
    assert config.episodes * registry.make("mbmpo/half-cheetah").horizon == 5000 and config.hidden == (32, 32)
    value, policy = config.value, config.policy
    assert (value.rate, value.damping, value.radius, value.decay) == (0.001 / 2, 0.1 / 4, 0.3 / 2 / 4, 0.95)
    assert (policy.rate, policy.damping, policy.radius, policy.decay) == (0.03, 0.01, 0.01 / 2, 0.99)
    assert (config.kl, config.trace, config.n_value, policy.momentum) == (0.002, 0.97, 25, 0.9)
    assert presets.preset("acktr", "laptop").value.radius == value.radius


def test_ddpg_has_the_rates_of_mb_mpos_comparison():
    config = presets.preset("ddpg", "paper", "mbmpo/half-cheetah")
    assert (config.learning_rate, config.critic_rate, config.critic_l2, config.noise) == (1e-5, 1e-3, 0.01, 0.2)
    assert (config.hidden, config.critic_hidden, config.batch, config.target_rate) == ((32, 32), (64, 64), 64, 0.01)


def test_rl2_has_the_trials_of_pearls_comparison():
    config = presets.preset("rl2", "paper", "pearl/cheetah-vel")
    assert (config.meta_batch, config.trial_episodes, config.units, config.clip) == (100, 2, 64, 0.2)
    assert (config.n_epochs, config.n_minibatches, config.learning_rate, config.trace) == (5, 1, 1e-3, 1.0)
    assert (config.normalize, config.across_episodes) == (False, False)
    laptop = presets.preset("rl2", "laptop", "pearl/cheetah-vel")
    assert (laptop.n_minibatches, laptop.normalize, laptop.trace) == (10, True, 0.95)


def test_pearls_goals_are_a_hundred_in_the_paper_and_a_hundred_and_fifty_in_the_later_release():
    tasks = [presets.preset("pearl", preset, "pearl/ant-goal").n_tasks for preset in ("paper", "released")]
    assert tasks == [100, 150]


def test_mb_mpc_plans_as_in_the_comparison():
    plan = presets.preset("mb-mpc", "paper").plan
    assert (plan.method, plan.steps, plan.candidates, plan.discount) == ("shooting", 10, 1000, 0.99)


def test_the_page_of_presets_has_a_row_for_every_algorithm():
    page = (Path(__file__).parents[2] / "docs" / "presets.md").read_text()
    rows = {
        name for row in re.findall(r"^\| (`[^|]+) \|", page, flags=re.MULTILINE) for name in re.findall("`(.+?)`", row)
    }
    assert rows >= set(presets.names())
