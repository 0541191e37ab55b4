#!/bin/sh
# sh run.sh SEED: one training on one core, tested on the 20 held-out goals as it goes on, at the end after up to 20 episodes
# Run it from an empty folder: it does not write over earlier results.
set -eu
for n in 1016000 2016000 3016000 4016000 5016000; do
  taskset -c "${CORE:-0}" onebody train pearl pearl/sparse-point --preset laptop --seed $1 --samples $n --quiet --out pearl-s$1 --config.precision bfloat16
  taskset -c "${CORE:-0}" onebody evaluate pearl-s$1 --stages $([ $n = 5016000 ] && echo 20 || echo 10)
  python -m json.tool --compact pearl-s$1/evaluation.json pearl-s$1/evaluation-$n.json
done
python "$(dirname "$0")/draws.py" pearl-s$1
