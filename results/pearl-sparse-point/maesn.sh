#!/bin/sh
# sh maesn.sh SEED: one training of MAESN on one core with as many samples as PEARL's, tested after up to ten stages of adaptation
# Run it from an empty folder: it does not write over earlier results.
set -eu
taskset -c "${CORE:-0}" onebody train maesn pearl/sparse-point --preset laptop --seed $1 --quiet --out maesn-s$1
taskset -c "${CORE:-0}" onebody evaluate maesn-s$1 --stages 10
