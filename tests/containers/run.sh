#!/usr/bin/env bash
# Proves the containers with the Docker engine that answers here: builds the CPU variant, uses it, scales it, kills a
# worker, restarts Redis, takes everything down and up again. Started by `make test-containers`.
#
# It runs beside whatever else is there: a project, a port, images and volumes of its own, all removed at the end. The
# build's cache stays with the engine. What a build needs on this machine goes into the environment, as for any build:
# BUILD_NETWORK, BASE_IMAGE, TORCH_INDEX_URL, TORCH_VERSION, REDIS_IMAGE.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly JOB_S=240       # until a job must have ended
readonly READY_S=180     # until workers must have come (back)
readonly PROMPT="a red circle on a blue background"

project=pd-test-$$
folder=$(mktemp -d)
key=key-of-$project
do=(docker compose --project-name "$project" --file docker-compose.build-cpu.yml)
finished=false

# settings of the caller's own shell do not belong here
unset API_KEYS_FILE DEFAULT_MODEL KEY_PREFIX OUTPUT_URL OUTPUTS_VOLUME MODELS_VOLUME PROMPTS_VOLUME RUN_AS IMAGE_PREFIX \
    BIND_ADDRESS WORKER_CPUS TORCH_THREADS DEVICE WORKER_GPUS COMPOSE_FILE COMPOSE_PROFILES
PORT=$((20000 + RANDOM % 20000))
while (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do PORT=$((PORT + 1)); done
# few tasks in hand, so that enough stay in the queue
export WORKER_SLOTS=2
export PORT IMAGE_TAG=$project API_KEYS=$key WORKER_MEMORY=4g WARM_UP_S=0 RETRY_WINDOW_S=0 VISIBILITY_TIMEOUT_S=8 WORKER_BEAT_S=1
url=http://127.0.0.1:$PORT

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

fail() {
    say "FAILED: $*" >&2
    exit 1
}

clean_up() {
    local status=$?
    trap - EXIT
    trap '' INT TERM
    if ! $finished; then
        say "the ends of the logs:"
        "${do[@]}" ps --all || true
        "${do[@]}" logs --no-color --tail 15 2>&1 | cut -c 1-300 || true
        [ $status -ne 0 ] || status=1
    fi
    say "removing all that was made"
    "${do[@]}" down --volumes --remove-orphans --timeout 5 >"$folder/down.log" 2>&1 || cat "$folder/down.log"
    docker image rm "personal-diffusion-api:$project" "personal-diffusion-worker:$project" >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# quietly name command...: its output only when it fails
quietly() {
    local what=$1
    shift
    say "$what"
    "$@" >"$folder/quietly.log" 2>&1 || {
        tail -n 40 "$folder/quietly.log" >&2
        fail "$what"
    }
}

text() { sed -nE "s/.*\"$1\": ?\"([^\"]*)\".*/\1/p" | head -n 1; }

post() { curl --silent --show-error --max-time 150 "$url$1" -H 'Content-Type: application/json' -H "X-API-Key: $key" "${@:2}"; }

# submit steps [more JSON]: queue an image, print the job's id
submit() {
    post /generate -d "{\"prompt\": \"$PROMPT\", \"return_base64\": true, \"ddim_steps\": $1${2:+, $2}}" | text task_id
}

# How many milliseconds a job of these steps takes of one worker, measured now. What follows needs work that is still
# to do when it looks, on a fast machine too.
pace() {
    local started id
    started=$(date +%s%3N)
    id=$(submit "$1")
    all_succeed "$id"
    echo $(($(date +%s%3N) - started))
}

# queue_work seconds steps pace: as many jobs of these steps as keep three workers busy so long; their ids into `jobs`
queue_work() {
    local count=$((3 * 1000 * $1 / $3 + 6))
    [ $count -le 300 ] || count=300
    jobs=()
    while [ ${#jobs[@]} -lt $count ]; do jobs+=("$(submit "$2")"); done
}

state() { curl --silent --max-time 10 "$url/status/$1" | text State; }

# first_image id file: the first stored image of a job
first_image() {
    local link
    link=$(curl --silent "$url/status/$1" | grep -oE '/images/[^"]+' | head -n 1)
    curl --silent --fail "$url$link" -o "$2" || fail "the image $link of job $1 cannot be read"
    head -c 8 "$2" | grep -qa PNG || fail "$link is not a PNG"
}

# all_succeed id...: wait until every job has ended well
all_succeed() {
    local id state end=$((SECONDS + JOB_S))
    [ $# -gt 0 ] || fail "no jobs to wait for"
    for id in "$@"; do
        [ -n "$id" ] || fail "a request was not accepted"
        while state=$(state "$id" || true) && [ "$state" != SUCCESS ]; do
            case $state in FAILURE | REVOKED) fail "job $id ended as $state: $(curl -s "$url/status/$id")" ;; esac
            [ $SECONDS -lt $end ] || fail "job $id is still ${state:-unknown} after $JOB_S s"
            sleep 0.5
        done
    done
}

workers_live() { curl --silent --max-time 10 "$url/ready" | grep -o '"name"' | wc -l; }

wait_workers() {
    local end=$((SECONDS + READY_S))
    while [ "$(workers_live)" -ne "$1" ]; do
        [ $SECONDS -lt $end ] || fail "$(workers_live) instead of $1 workers after $READY_S s"
        sleep 0.5
    done
}

# inspect service template: what the engine says of the first container of a service
inspect() { docker inspect --format "$2" "$("${do[@]}" ps --quiet "$1" | head -n 1)"; }

# how often the engine has started workers anew
restarts() {
    "${do[@]}" ps --all --quiet worker | xargs docker inspect --format '{{.RestartCount}}' | awk '{n += $1} END {print n}'
}

# signal_worker index signal: to the worker itself, from within its container
signal_worker() {
    "${do[@]}" exec -T --index "$1" worker python -c '
import os, signal, sys
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    if pid not in (1, os.getpid()) and b"-m\0worker\0" in open(f"/proc/{pid}/cmdline", "rb").read():
        os.kill(pid, signal.Signals[sys.argv[1]])
' "$2"
}

equal() { [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"; }

docker info >/dev/null 2>&1 || fail "no Docker engine answers: start one, or set DOCKER_HOST"
say "Docker $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short), project $project"

quietly "building the images" "${do[@]}" build
quietly "starting Redis, the API and a worker, until all are healthy" "${do[@]}" up --detach --wait --wait-timeout "$READY_S"

say "who may do what in them"
for service in redis api worker; do
    equal "$service: health" "$(inspect $service '{{.State.Health.Status}}')" healthy
    equal "$service: root file system" "$(inspect $service '{{.HostConfig.ReadonlyRootfs}}')" true
    equal "$service: capabilities" "$(inspect $service '{{.HostConfig.CapDrop}}')" '[ALL]'
    equal "$service: privileges" "$(inspect $service '{{.HostConfig.SecurityOpt}}')" '[no-new-privileges:true]'
    equal "$service: restart" "$(inspect $service '{{.HostConfig.RestartPolicy.Name}}')" unless-stopped
    [ "$("${do[@]}" exec -T "$service" id -u)" -ne 0 ] || fail "$service runs as root"
    "${do[@]}" exec -T "$service" sh -c 'touch /etc/x /app/x 2>/dev/null' && fail "$service can write to its image"
done
equal "published ports of Redis" "$(inspect redis '{{.HostConfig.PortBindings}}')" 'map[]'
equal "address of the API" "$(inspect api '{{(index (index .HostConfig.PortBindings "5001/tcp") 0).HostIp}}')" 127.0.0.1
equal "answer without a key" "$(curl -s -o /dev/null -w '%{http_code}' "$url/recent")" 401

say "requests: one that waits for its image, one that is asked for later"
post /generate --fail -d "{\"prompt\": \"$PROMPT\", \"synchronous_request\": true}" -o "$folder/waited.png" || fail "no image"
head -c 8 "$folder/waited.png" | grep -qa PNG || fail "the answer is not a PNG"
first=$(submit 8)
all_succeed "$first"
first_image "$first" "$folder/first.png"

say "one shot, without Redis, API and network"
docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL "personal-diffusion-worker:$project" \
    python -m worker.draw --prompt "$PROMPT" --steps 2 --output - >"$folder/shot.png" || fail "the one shot drew nothing"
head -c 8 "$folder/shot.png" | grep -qa PNG || fail "what the one shot drew is not a PNG"

say "a checkpoint in a single file"
tar --create benchmarks | "${do[@]}" exec -T worker sh -c '
    mkdir /tmp/own && tar --extract --directory /tmp/own && PYTHONPATH=/tmp/own python -m benchmarks.narrow_models /models/sd15.safetensors
' || fail "no checkpoint could be written"
end=$((SECONDS + 30))
until curl -s "$url/models" | tr -d ' \n' | grep -q '"name":"sd15"[^}]*"available":true'; do
    [ $SECONDS -lt $end ] || fail "the checkpoint is not offered"
    sleep 0.5
done
id=$(submit 2 '"ckpt": "sd15", "W": 64, "H": 64')
all_succeed "$id"
first_image "$id" "$folder/single.png"

say "a worker that hangs is not healthy"
signal_worker 1 SIGSTOP
end=$((SECONDS + 60))
while "${do[@]}" exec -T worker python -m worker.process.health 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "nobody noticed that the worker hangs"
done
signal_worker 1 SIGCONT
wait_workers 1
"${do[@]}" exec -T worker python -m worker.process.health || fail "the worker is not healthy again"

quietly "three workers" "${do[@]}" up --detach --wait --no-recreate --scale worker=3
wait_workers 3
jobs=()
for _ in 1 2 3 4 5 6; do jobs+=("$(submit 10 '"n_iter": 2')"); done
all_succeed "${jobs[@]}"
cores=$("${do[@]}" exec -T worker python -c 'from worker.hardware.cores import available_cores; print(available_cores())')
share=$((cores / 3 > 0 ? cores / 3 : 1))
busy=0
for id in $("${do[@]}" ps --quiet worker); do
    threads=$(docker logs "$id" 2>&1 | grep -oE 'computing with [0-9]+' | tail -n 1 | grep -oE '[0-9]+' || true)
    [ -z "$threads" ] || { equal "threads of a worker of three on $cores cores" "$threads" "$share"; busy=$((busy + 1)); }
done
[ $busy -ge 2 ] || fail "$busy of three workers did all the work"
say "$busy of 3 workers drew, with $share of $cores cores each"

say "a worker is killed in the middle of its work"
per_job=$(pace 60)
queue_work 10 60 "$per_job"
while ! curl -s "$url/status/${jobs[0]}" | grep -qE '"Step": ?[1-9]'; do sleep 0.1; done
before=$(restarts)
signal_worker 2 SIGKILL
equal "state of the last job when a worker was killed" "$(state "${jobs[-1]}")" PENDING
all_succeed "${jobs[@]}"
wait_workers 3
equal "restarts of killed workers" $(($(restarts) - before)) 1

say "Redis restarts while jobs wait"
queue_work 10 60 "$per_job"
equal "state of the last job" "$(state "${jobs[-1]}")" PENDING
quietly "  restarting" "${do[@]}" restart redis
all_succeed "${jobs[@]}"
wait_workers 3

say "everything goes down while jobs wait, and comes up again"
queue_work 10 60 "$per_job"
equal "state of the last job" "$(state "${jobs[-1]}")" PENDING
quietly "  down" "${do[@]}" down
# without workers first, so that what is left is counted before they begin
quietly "  up: Redis and the API" "${do[@]}" up --detach --wait redis api
undone=0
for id in "${jobs[@]}"; do [ "$(state "$id")" = SUCCESS ] || undone=$((undone + 1)); done
[ $undone -gt 0 ] || fail "nothing was left to do, so this showed nothing"
say "  $undone of ${#jobs[@]} jobs were still to do"
quietly "  up: the workers" "${do[@]}" up --detach --wait
all_succeed "${jobs[@]}"
first_image "$first" "$folder/again.png"
cmp "$folder/first.png" "$folder/again.png" || fail "the first image is not the same any more"

finished=true
say "all is well"
