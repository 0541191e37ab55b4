#!/bin/sh
# sh run.sh ALGORITHM half-cheetah|swimmer SEED: one training on one core, tested every second iteration
# Run it from an empty folder: it does not write over earlier results.
set -eu
taskset -c "${CORE:-0}" onebody train $1 mbmpo/$2 --preset laptop --seed $3 --quiet --evaluate-every 2 --out $2-$1-s$3 --config.model.precision bfloat16
