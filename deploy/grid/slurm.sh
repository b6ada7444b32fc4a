#!/usr/bin/env bash
# The whole workflow on a SLURM cluster: an array of rows, and the sheet when all of them are done. Every node needs this
# folder and the environment of `make run` (PYTHON=/shared/personal-diffusion/.venv/bin/python).
#
#   PROMPT="a red circle" ROWS=8 SAMPLES=4 deploy/grid/slurm.sh [grid.png]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

rows=$(sbatch --parsable --job-name=grid-rows --array="0-$((${ROWS:-2} - 1))" "$here/draw_row.sh")
sbatch --job-name=grid --dependency="afterok:$rows" "$here/assemble.sh" "$@"
