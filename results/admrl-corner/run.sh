#!/bin/sh
# sh run.sh ALGORITHM SEED: one training, tested on a grid of 25 goals after 2,400 and after 4,800 real samples
for n in 2400 4800; do
  onebody train $1 corner.py:corner --seed $2 --samples $n --preset smoke --quiet --out $1-s$2 \
    --config.real-episodes 2 --config.imagined-episodes 20 --config.rate 2 --config.smt.n-tasks 40 --config.smt.n-warmup 6 \
    --config.smt.n-slbo 3 --config.smt.slbo.real-episodes 2 --config.smt.slbo.imagined-episodes 20 \
    --config.smt.slbo.n-model 500 --config.smt.slbo.n-policy 30 --config.smt.slbo.trpo.entropy 0.1 \
    --config.smt.slbo.model.hidden 64 64 --config.smt.slbo.model.batch 64 --config.smt.slbo.value.epochs 3
  onebody evaluate $1-s$2 --stages 0 --grid 5
  cp $1-s$2/evaluation.json $1-s$2/evaluation-$n.json
done
