"""Draws docs/bodies/*.webp, a picture of each body for docs/families.md: python docs/bodies.py"""

from pathlib import Path

from PIL import Image

from onebody.reports.families import look, looks
from onebody.worlds.gym import Env

HERE = Path(__file__).parent
SIZE = (240, 180)


def main() -> None:
    for name, family in looks().items():
        env = Env(family, render_mode="rgb_array")
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(min(family.horizon, 10)):
            env.step(env.action_space.sample() * 0.2)
        Image.fromarray(env.render()).resize(SIZE).save(HERE / look(name), quality=80, method=6)
        env.close()


if __name__ == "__main__":
    main()
