#!/bin/sh
# sh run.sh vel|dir SEED: one training with the paper's settings on one core, tested as it goes on
# Run it from an empty folder: it does not write over earlier results.
set -eu
case $1 in
  vel) samples="204000 220000 236000 252000 268000 284000 300000 316000 332000 348000 364000 380000 396000" ;;
  dir) samples="14000 54000 104000 154000 204000 254000 304000 404000 504000 604000 704000 804000 904000 1004000" ;;
esac
for n in $samples; do
  taskset -c "${CORE:-0}" onebody train pearl pearl/cheetah-$1 --preset paper --seed $2 --samples $n --quiet --out $1-s$2 \
    --config.n-iterations 120 --config.precision bfloat16
  taskset -c "${CORE:-0}" onebody evaluate $1-s$2 --stages 2 --tasks 30
  cp $1-s$2/evaluation.json $1-s$2/evaluation-$n.json
done
