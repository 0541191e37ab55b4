#!/bin/sh
# sh run.sh SEED: train OMNI on smt/cheetah-vel, then take three rewards of one's own, without and with practice for them.
# Call it by its path from an empty folder: it writes SEED/REWARD-SECONDS.json.
set -eu
rewards=$(cd "$(dirname "$0")" && pwd)/rewards.py
onebody train omni smt/cheetah-vel --preset demo --samples 40000 --seed "$1" --quiet --out "run-s$1"
mkdir -p "s$1"
for reward in nose_down high_steps stand_still; do
  for seconds in 0 60; do
    onebody adapt "run-s$1" --reward "$rewards:$reward" --refine $seconds --json > "s$1/$reward-$seconds.json"
  done
done
cp "run-s$1/config.json" "run-s$1/metrics.jsonl" "s$1"
