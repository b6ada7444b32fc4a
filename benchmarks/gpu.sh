#!/usr/bin/env bash
# Everything that needs a GPU, in one go, some 30 minutes: the tests that run on one, the engine against the stock
# pipeline with a full-size random-weight SD 1.5 at 512x512 in float16 (throughput for 1 to 32 requests, memory, mean
# latency), the standard and the optimized variant, also compiled, and how far images generated in a mixed batch are from
# those generated alone. Results: benchmarks/results/gpu_*.json.
# benchmarks/gpu.sh [python]
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
models=$(mktemp -d)
trap 'rm -rf "$models"' EXIT
export MODELS_DIR=$models DEVICE=cuda WORKER_VARIANT=standard
"$python" -c 'import torch; assert torch.cuda.is_available(), "there is no CUDA device here"; print(torch.cuda.get_device_name())'

"$python" -m benchmarks.batching --half --name gpu_batching_demo
"$python" -m benchmarks.random_models sd15 "$models/sd15"
for requests in 1 2 4 8 16 32; do
    "$python" -m benchmarks.engine --model sd15 --requests "$requests" --rounds 3 --long-size 512 \
        --name "gpu_engine_sd15_$requests"
done
"$python" -m benchmarks.gpu --model sd15 --name gpu_variants_sd15
TORCH_COMPILE=true COMPILE_CACHE_DIR="$models/compiled" "$python" -m benchmarks.gpu --model sd15 --name gpu_variants_sd15_compiled
"$python" -m benchmarks.batching --model sd15 --half --count 12 --steps 20 --side 512 --name gpu_batching_sd15
"$python" -m benchmarks.samplers --count 100 --name gpu_samplers
