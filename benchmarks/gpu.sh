#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go of under 10 minutes, with a full-size random-weight SD 1.5 in float16 at
# 512, 768 and 1024 pixels: images a second for 1 to 32 requests in one batch and how far each image is from the one made
# alone; one alone against the stock pipeline and the compiled stock pipeline; the memory of the optimized variant; the
# compiled engine. What there is no time for is left out and named. Results: benchmarks/results/gpu_sd15.json.
# benchmarks/gpu.sh [python] [seconds]
# Without a GPU, to try it: DEVICE=cpu MODEL=demo SIZES="64 128" MOST=2 STEPS=2 NAME=gpu_try benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
seconds=${2:-360}
model=${MODEL:-sd15}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export DEVICE=${DEVICE:-cuda} WORKER_VARIANT=standard COMPILE_CACHE_DIR=${COMPILE_CACHE_DIR:-$folder/compiled}
if [ "$DEVICE" = cuda ]; then
    "$python" -c 'import torch; assert torch.cuda.is_available(), "there is no CUDA device here"; print(torch.cuda.get_device_name())'
fi
if [ "$model" = sd15 ]; then
    export MODELS_DIR=$folder
    "$python" -m benchmarks.random_models sd15 "$folder/sd15"
fi
sizes=()
for size in ${SIZES:-512 768 1024}; do sizes+=(--size "$size"); done
# one part begun in time may end some time after it
timeout --signal INT $((seconds + 120)) "$python" -m benchmarks.gpu --model "$model" "${sizes[@]}" \
    --steps "${STEPS:-20}" --most "${MOST:-32}" --budget "$seconds" --name "${NAME:-gpu_$model}" \
    || echo "not all of it came to its end; what did is in benchmarks/results/${NAME:-gpu_$model}.json" >&2
