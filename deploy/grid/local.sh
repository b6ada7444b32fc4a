#!/usr/bin/env bash
# The whole workflow on this machine: $ROWS rows, $AT_ONCE processes at a time, then the sheet.
#
#   PROMPT="a red circle" ROWS=2 SAMPLES=4 deploy/grid/local.sh [grid.png]
set -euo pipefail
here=$(dirname "$0")

seq 0 $((${ROWS:-2} - 1)) | xargs -P "${AT_ONCE:-2}" -n 1 "$here/draw_row.sh"
exec "$here/assemble.sh" "$@"
