#!/bin/sh
# sh run.sh ALGORITHM SEED: one training of 43,200 real samples (9 tasks of admrl, 12 of mb-unif and mb-gauss), tested
# zero-shot on a grid of 25 tasks. Run it from an empty folder: it does not write over earlier results.
set -eu
onebody train "$1" admrl/hopper-2d --seed "$2" --samples 43200 --quiet --out "$1-s$2"
onebody evaluate "$1-s$2" --stages 0 --grid 5
