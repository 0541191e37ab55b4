import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onebody.core.types import Transitions
from onebody.learning.replay import Replay


def steps(first, time, episodes):
    """Transitions whose observation counts steps along each slot, one slot after the other."""
    count = first + np.arange(time)[:, None] + time * np.arange(episodes)
    rows = np.float32(count[None, :, :, None])
    end = np.broadcast_to(np.arange(time)[:, None] == time - 1, (1, time, episodes))
    return Transitions(rows, rows, rows[..., 0], rows + 1, np.zeros_like(end), end)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.sampled_from([(1, 1), (1, 4), (4, 1), (3, 4)]), min_size=1, max_size=6),
    st.sampled_from([3, 7, 20]),
)
def test_ring_keeps_the_newest_rows(sizes, capacity):
    replay, everything, first = Replay.empty(capacity, 1, 1), [], 0
    for time, episodes in sizes:
        replay = replay.add(steps(first, time, episodes))
        everything += range(first, first + time * episodes)
        first += time * episodes
    kept = sorted(np.asarray(replay.observation)[: int(replay.size), 0].astype(int).tolist())
    assert kept == everything[-capacity:]
    assert int(replay.head) == sum(min(t * e, capacity) for t, e in sizes) % capacity


def test_windows_follow_one_episode_until_its_end():
    replay = Replay.empty(100, 1, 1).add(steps(0, 5, 4))
    observation, _, next_observation, done = map(np.asarray, replay.windows(jax.random.key(0), 200, 3))
    assert observation.shape == (3, 200, 1)
    goes_on = ~done[:-1]
    np.testing.assert_array_equal((next_observation[:-1] == observation[1:])[..., 0][goes_on], True)
    assert done.any() and set(np.unique(observation).astype(int)) == set(range(20))
