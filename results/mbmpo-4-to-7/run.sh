#!/bin/sh
# sh run.sh NAME SEED: one training on one core, tested every fifth iteration; NAMEs are the cases
# Run it from an empty folder, by its path: it does not write over earlier results. PRECISION=float32 where a core has no AMX.
set -eu
here=$(dirname "$0")
algorithm=mb-mpo
family=mbmpo/half-cheetah
iterations=15
short_fits="--config.model.persistence 0.95 --config.model.epochs 200"
case $1 in
  4-mb-mpo-*) family=$here/horizons.py:half-cheetah-100/forward
    settings="--config.real-episodes 40 --config.inner-rate 0.01 --config.model.noise 0.1 --config.model.bias ${1#4-mb-mpo-}" ;;
  4-me-trpo-*) algorithm=me-trpo; family=$here/horizons.py:half-cheetah-100/forward
    settings="--config.trpo.shrink 0.8 --config.trpo.backtracks 15 --config.real-episodes 40 --config.model.noise 0.1 --config.model.bias ${1#4-me-trpo-}" ;;
  5-rate-*) family=$here/horizons.py:half-cheetah-1000/forward
    settings="--config.real-episodes 5 --config.episodes 4 --config.inner-rate ${1#5-rate-}" ;;
  6-tailored) iterations=25; settings= ;;
  6-not-tailored) iterations=20; settings=--config.no-tailored ;;
  7-rate-*) settings="--config.inner-rate ${1#7-rate-}" ;;
  7-members-*) settings="--config.model.members ${1#7-members-}" ;;
  7-steps-*) settings="--config.n-meta ${1#7-steps-}" ;;
  *) echo "no training $1: see the cases of $0" >&2; exit 2 ;;
esac
taskset -c "${CORE:-0}" onebody train $algorithm $family --preset laptop --seed $2 --quiet --evaluate-every 5 --out $1-s$2 \
  --config.n-iterations $iterations --config.model.precision ${PRECISION:-bfloat16} $short_fits $settings
