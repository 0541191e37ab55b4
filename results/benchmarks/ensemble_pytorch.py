"""A gradient step of OMNI's ensemble in PyTorch, to compare with: python ensemble_pytorch.py (pip install torch)

The sizes of `benchmarks/omni.py`: five members of 2 × 256 units, 256 transitions each, mean and log standard deviation of the difference,
AdamW. Members are one batched product per layer, as PETS in PyTorch has them. Prints the median of 200 steps.
"""

import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

OBSERVATION, ACTION, MEMBERS, BATCH, HIDDEN, ROWS = 18, 6, 5, 256, 256, 100_000
torch.set_num_threads(2)


class Layer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(MEMBERS, inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(MEMBERS, 1, outputs))

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


features = nn.Sequential(Layer(OBSERVATION + ACTION, HIDDEN), nn.SiLU(), Layer(HIDDEN, HIDDEN), nn.SiLU())
to_mean, to_log_std = Layer(HIDDEN, OBSERVATION), Layer(HIDDEN, OBSERVATION)
parameters = [*features.parameters(), *to_mean.parameters(), *to_log_std.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)
widths = {"observation": OBSERVATION, "action": ACTION, "next": OBSERVATION}
replay = {name: np.random.randn(ROWS, n).astype(np.float32) for name, n in widths.items()}


def step():
    rows = np.random.randint(0, ROWS, (MEMBERS, BATCH))
    observation, action, after = (torch.from_numpy(replay[name][rows]) for name in widths)
    observation = observation + 0.01 * torch.randn_like(observation)
    hidden = features(torch.cat([observation, action], -1))
    mean, raw = to_mean(hidden), to_log_std(hidden.detach())
    raw = 0.5 - functional.softplus(0.5 - raw)
    log_std = -5 + functional.softplus(raw + 5)
    error = after - observation - mean
    weight = torch.exp(-log_std.detach())
    unlikely = 0.5 * (error.detach() * torch.exp(-log_std)) ** 2 + log_std
    optimizer.zero_grad()
    (0.5 * weight * error**2 + unlikely).mean((1, 2)).sum().backward()
    optimizer.step()


for _ in range(20):
    step()
taken = []
for _ in range(200):
    began = time.perf_counter()
    step()
    taken.append(time.perf_counter() - began)
print(f"{statistics.median(taken) * 1e3:.2f} ms a gradient step (PyTorch {torch.__version__})")
