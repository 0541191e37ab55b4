#!/bin/sh
# sh run.sh vel|dir SEED SAMPLES …: one training with the paper's settings on one core, tested on held-out tasks at each number of samples
family=$1 seed=$2
shift 2
for n in "$@"; do
  taskset -c "${CORE:-0}" onebody train pearl pearl/cheetah-$family --preset paper --seed $seed --samples $n --quiet --out $family-s$seed \
    --config.n-iterations 60 --config.precision bfloat16
  taskset -c "${CORE:-0}" onebody evaluate $family-s$seed --stages 2 --tasks 30
  cp $family-s$seed/evaluation.json $family-s$seed/evaluation-$n.json
done
