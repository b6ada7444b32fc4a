#!/bin/sh
# Install the foreign clients that `make test-clients` runs, each by its name, into build/clients.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}

mkdir -p build/clients
if command -v node > /dev/null && command -v npm > /dev/null; then
    (cd build/clients && npm install --no-audit --no-fund --loglevel=error openai ai @ai-sdk/openai-compatible)
else
    echo "node and npm are not here: the clients in JavaScript are left out" >&2
fi
# one environment each, so that what they require never meets
for client in langchain_images:langchain-community,openai \
              llama_index_images:llama-index-tools-openai-image-generation,openai \
              sd_backend_images:sd-backend-client \
              image_generation_mcp_images:image-generation-mcp \
              sd_api_mcp_images:--ignore-requires-python,sd-api-mcp; do  # it asks for a newer Python, and runs on ours
    folder=build/clients/${client%%:*}
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check $(echo "${client#*:}" | tr , ' ')
done
