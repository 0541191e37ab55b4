#!/bin/sh
# sh run.sh omni|sac|trpo-10 BODY SEED: one training on a body of examples/gallery.py and its test, on one core
# Call it by its path from an empty folder: it does not write over earlier results.
set -eu
case $1 in
  omni) algorithm=omni settings="--samples 20000 --evaluate-every 5" test="--stages 0" ;;
  sac) algorithm=sac settings="--samples 0 --config.n-gradient 500" test="--stages 40 --tasks 4" ;;
  trpo-10) algorithm=trpo settings="--samples 0 --config.refine-episodes 50" test="--stages 40 --tasks 4" ;;
  *) echo "no training $1: see the cases of $0" >&2; exit 2 ;;
esac
family=$(cd "$(dirname "$0")/../.." && pwd)/examples/gallery.py:gallery/$2
run=$2-$1-s$3
taskset -c "${CORE:-0}" onebody train $algorithm "$family" --preset laptop $settings --seed "$3" --quiet --out "$run"
taskset -c "${CORE:-0}" onebody evaluate "$run" $test
python -m json.tool --compact "$run/evaluation.json" "$run/evaluation.json"
