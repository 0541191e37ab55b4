#!/bin/sh
# sh run.sh ALGORITHM half-cheetah|swimmer SEED: one training on one core, tested every second iteration
# Run a copy of it in an empty folder: it does not write over earlier results.
set -eu
case $1-$2 in
  mb-mpo-half-cheetah) settings= ;;
  mb-mpo-swimmer) settings="--config.model.persistence 0.95 --config.model.epochs 200" ;;
  me-trpo-half-cheetah) settings="--config.trpo.shrink 0.8 --config.trpo.backtracks 15" ;;
  me-trpo-swimmer) settings="--config.trpo.shrink 0.8 --config.trpo.backtracks 15 --config.model.persistence 0.95 --config.model.epochs 200" ;;
  mb-mpc-half-cheetah) settings="--config.n-iterations 20" ;;
  mb-mpc-swimmer) settings="--config.model.persistence 0.95 --config.model.epochs 200" ;;
  *) echo "no training $1 on $2: see the cases of $0" >&2; exit 2 ;;
esac
taskset -c "${CORE:-0}" onebody train $1 mbmpo/$2 --preset laptop --seed $3 --quiet --evaluate-every 2 --out $2-$1-s$3 \
  --config.model.precision bfloat16 $settings
