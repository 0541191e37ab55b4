#!/bin/sh
# sh run.sh cheetah-vel|cheetah-dir|point SEED: one training on one core and its test
# Run a copy of it in an empty folder: it does not write over earlier results.
set -eu
case $1 in
  cheetah-*) iterations=126 ;;                    # 40,000 samples each
  point) iterations=250 ;;                        # 4,000 samples each
  *) echo "no training on $1: see the cases of $0" >&2; exit 2 ;;
esac
taskset -c "${CORE:-0}" onebody train rl2 pearl/$1 --preset laptop --config.n-iterations $iterations --seed $2 --quiet --out $1-s$2
taskset -c "${CORE:-0}" onebody evaluate $1-s$2 --stages 3
