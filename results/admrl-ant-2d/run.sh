#!/bin/sh
# sh run.sh ALGORITHM SEED: one training, tested on a grid of 25 velocities after 40,000, 80,000 and 160,000 real samples
# Run it from an empty folder: it does not write over earlier results.
set -eu
for n in 40000 80000 160000; do
  onebody train $1 admrl/ant-2d --seed $2 --samples $n --quiet --out $1-s$2
  onebody evaluate $1-s$2 --stages 0 --grid 5
  cp $1-s$2/evaluation.json $1-s$2/evaluation-$n.json
done
