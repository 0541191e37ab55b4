"""PEARL's gradient step in PyTorch, to compare with: python pearl_pytorch.py (pip install torch)

The sizes of `benchmarks/pearl.py`: 16 tasks, 256 transitions and a context of 100 of each, five networks of 3 × 300 (encoder 3 × 200),
replay in NumPy arrays, an Adam a network. Prints the median of 15 steps.
"""

import copy
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

OBSERVATION, ACTION, LATENT = 20, 6, 5
TASKS, META_BATCH, BATCH, CONTEXT, ROWS = 100, 16, 256, 100, 5000
torch.set_num_threads(2)


def network(*sizes):
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


encoder = network(OBSERVATION + ACTION + 1, 200, 200, 200, 2 * LATENT)
critics = [network(OBSERVATION + ACTION + LATENT, 300, 300, 300, 1) for _ in range(2)]
value = network(OBSERVATION + LATENT, 300, 300, 300, 1)
target = copy.deepcopy(value)
policy = network(OBSERVATION + LATENT, 300, 300, 300, 2 * ACTION)
optimizers = [torch.optim.Adam(net.parameters(), lr=3e-4) for net in (encoder, *critics, value, policy)]
widths = {"o": OBSERVATION, "a": ACTION, "r": 1, "next": OBSERVATION, "done": 1}
replay = [{name: np.random.randn(ROWS, n).astype(np.float32) for name, n in widths.items()} for _ in range(TASKS)]


def draw(tasks, n):
    result = []
    for task in tasks:
        at = np.random.randint(0, ROWS, n)
        result.append({name: x[at] for name, x in replay[task].items()})
    return {name: torch.from_numpy(np.stack([rows[name] for rows in result])) for name in widths}


def step():
    tasks = np.random.randint(0, TASKS, META_BATCH)
    transitions = draw(tasks, CONTEXT)
    rows = {name: x.reshape(-1, x.shape[-1]) for name, x in draw(tasks, BATCH).items()}
    mean, raw = encoder(torch.cat([transitions["o"], transitions["a"], transitions["r"]], -1)).chunk(2, -1)
    precision = 1 / functional.softplus(raw).clamp(min=1e-7)
    variance = 1 / precision.sum(1)
    mean = variance * (mean * precision).sum(1)
    z = (mean + variance.sqrt() * torch.randn_like(mean)).repeat_interleave(BATCH, 0)
    still = z.detach()
    kl = 0.5 * (variance + mean**2 - 1 - variance.log()).sum()
    center, log_std = policy(torch.cat([rows["o"], still], 1)).chunk(2, -1)
    log_std, noise = log_std.clamp(-20, 2), torch.randn_like(center)
    action = torch.tanh(center + log_std.exp() * noise)
    log_prob = (-0.5 * noise**2 - log_std - 0.9189385).sum(1) - torch.log(1 - action**2 + 1e-6).sum(1)
    with torch.no_grad():
        next_observation = target(torch.cat([rows["next"], still], 1))
        expected = 5 * rows["r"] + 0.99 * (1 - rows["done"]) * next_observation
    evaluated = [q(torch.cat([rows["o"], rows["a"], z], 1)) for q in critics]
    guessed = value(torch.cat([rows["o"], still], 1))
    for optimizer in optimizers[:3]:
        optimizer.zero_grad()
    (0.1 * kl + sum(((q - expected) ** 2).mean() for q in evaluated)).backward()
    for optimizer in optimizers[:3]:
        optimizer.step()
    smallest = torch.minimum(*(q(torch.cat([rows["o"], action, still], 1)) for q in critics))
    optimizers[3].zero_grad()
    ((guessed - (smallest - log_prob[:, None]).detach()) ** 2).mean().backward()
    optimizers[3].step()
    with torch.no_grad():
        for old, new in zip(target.parameters(), value.parameters()):
            old.lerp_(new, 0.005)
    optimizers[4].zero_grad()
    ((log_prob[:, None] - smallest).mean() + 1e-3 * (center**2).mean() + 1e-3 * (log_std**2).mean()).backward()
    optimizers[4].step()


for _ in range(3):
    step()
taken = []
for _ in range(15):
    began = time.perf_counter()
    step()
    taken.append(time.perf_counter() - began)
print(f"{statistics.median(taken) * 1e3:.0f} ms a gradient step (PyTorch {torch.__version__})")
