#!/bin/sh
# sh run.sh ALGORITHM SEED: one training, tested on 20 held-out tasks after 5, 20 and 30 tasks
# Run it from an empty folder: it does not write over earlier results.
set -eu
for n in 20000 80000 120000; do
  onebody train $1 smt/ant-vel-2d --seed $2 --samples $n --quiet --out $1-s$2
  onebody evaluate $1-s$2 --stages 0 --tasks 20
  cp $1-s$2/evaluation.json $1-s$2/evaluation-$n.json
done
