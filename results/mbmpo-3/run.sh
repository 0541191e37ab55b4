#!/bin/sh
# sh run.sh SEED: one training on the 2-D point, on one core
# Run it from an empty folder: it does not write over earlier results. PRECISION=float32 where a core has no AMX.
set -eu
taskset -c "${CORE:-0}" onebody train mb-mpo mbmpo/point --preset paper --seed $1 --samples 9000 --out mb-mpo-s$1 --config.n-iterations 50 --config.meta-batch 40 \
  --config.real-episodes 10 --config.episodes 150 --config.model.hidden 128 128 --config.model.precision ${PRECISION:-bfloat16}
