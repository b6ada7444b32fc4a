#!/usr/bin/env bash
# The last task of a grid workflow: lays the rows in $FOLDER out on one sheet, which needs neither a model nor torch.
#
#   assemble.sh [grid.png]
set -euo pipefail

exec "${PYTHON:-python}" -m client grid "${FOLDER:-rows}"/row-*.png --columns 1 --output "${1:-grid.png}"
