#!/bin/sh
# sh run.sh ALGORITHM SEED: one training, tested on a grid of 25 tasks after 14,400, 28,800 and 57,600 real samples, at
# the end also on a grid that is half as wide again. These are 3, 6 and 12 tasks of admrl, 4, 8 and 16 of mb-unif and mb-gauss.
# Run it from an empty folder: it does not write over earlier results.
set -eu
for n in 14400 28800 57600; do
  onebody train $1 admrl/hopper-2d --seed $2 --samples $n --quiet --out $1-s$2
  onebody evaluate $1-s$2 --stages 0 --grid 5
  cp $1-s$2/evaluation.json $1-s$2/evaluation-$n.json
done
onebody evaluate $1-s$2 --stages 0 --grid 5 --beyond 1.5
mv $1-s$2/evaluation.json $1-s$2/evaluation-beyond.json
