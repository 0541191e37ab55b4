#!/bin/sh
# sh run.sh trpo|ppo|ddpg|acktr half-cheetah|swimmer SEED: one training of a million real steps on one core
# Run a copy of it in an empty folder: it does not write over earlier results.
set -eu
case $1 in
  trpo|ppo) every=1 ;;
  ddpg|acktr) every=10 ;;
  *) echo "no training $1: see the cases of $0" >&2; exit 2 ;;
esac
taskset -c "${CORE:-0}" onebody train $1 mbmpo/$2 --preset paper --samples 1000000 --seed $3 --quiet \
  --evaluate-every $every --out $2-$1-s$3
