#!/bin/sh
# sh run.sh ALGORITHM SEED [FOLDER [OPTIONS]]: one training, tested on a grid of 25 goals after 2,400 and after 4,800 real samples
# Run it from an empty folder: it does not write over earlier results.
set -eu
algorithm=$1 seed=$2 out=${3:-$1-s$2}
if [ $# -gt 3 ]; then shift 3; else shift $#; fi
for n in 2400 4800; do
  onebody train $algorithm "$(dirname "$0")/corner.py:corner" --seed $seed --samples $n --preset smoke --quiet --out $out \
    --config.real-episodes 2 --config.imagined-episodes 20 --config.rate 2 --config.smt.n-tasks 40 --config.smt.n-warmup 6 \
    --config.smt.n-slbo 3 --config.smt.slbo.real-episodes 2 --config.smt.slbo.imagined-episodes 20 \
    --config.smt.slbo.n-model 500 --config.smt.slbo.n-policy 30 --config.smt.slbo.trpo.entropy 0.1 \
    --config.smt.slbo.model.hidden 64 64 --config.smt.slbo.model.batch 64 --config.smt.slbo.value.epochs 3 "$@"
  onebody evaluate $out --stages 0 --grid 5
  cp $out/evaluation.json $out/evaluation-$n.json
done
