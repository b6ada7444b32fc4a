#!/usr/bin/env bash
# One task of a grid workflow: draws one row of a grid into $FOLDER/row-<number>.png, without any service.
#
#   draw_row.sh <number>      the number of the row, from 0; without it, that of the SLURM array or the Kubernetes Job
#
# PROMPT is needed. SAMPLES is the number of images in the row, SEED the seed of the grid's first image. MODEL, STEPS,
# HEIGHT and WIDTH go to `python -m worker.draw` as they are.
set -euo pipefail

number=${1:-${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:?name the number of the row}}}
export SAMPLES=${SAMPLES:-4} SEED=$((${SEED:-0} + number * ${SAMPLES:-4}))
: "${PROMPT:?say what to draw}"
exec "${PYTHON:-python}" -m worker.draw --output "$(printf '%s/row-%03d.png' "${FOLDER:-rows}" "$number")"
