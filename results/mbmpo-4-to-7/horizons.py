"""MB-MPO's half-cheetah with the horizons of its Figures 4 and 5."""

import dataclasses

import onebody

cheetah = onebody.make("mbmpo/half-cheetah")
for horizon in (100, 1000):
    onebody.register(dataclasses.replace(cheetah, id=f"half-cheetah-{horizon}/forward", horizon=horizon))
