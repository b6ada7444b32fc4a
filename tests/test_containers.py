"""The compose files, Dockerfiles and manifests say what they should; `make test-containers` shows that they work.

Nothing here needs an engine. Checks that need a program (docker compose, hadolint) or a package are skipped without it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import exposition
from shared.jobs.workers import WorkerCard
from shared.settings import Settings
from shared.variants import QUEUES
from shared.version import VERSION

pytestmark = pytest.mark.programs

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).resolve().parent.parent
BASE, DEVELOPMENT = "docker-compose.yml", "docker-compose.development.yml"
BUILDS = ("docker-compose.build-cpu.yml", "docker-compose.build-gpu.yml", "docker-compose.build-gpu-optimized.yml")
OURS = ("redis", "api", "worker")
DOCKERFILES = ("api/Dockerfile", "worker/Dockerfile")
# what `make run` alone understands
LAUNCHER_ONLY = {"WORKER_COUNT"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def services(name: str = BASE) -> dict[str, Any]:
    found: dict[str, Any] = read(name)["services"]
    return found


@pytest.fixture(params=sorted(services()))
def service(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Each service of the base file."""
    found: Mapping[str, Any] = services()[request.param]
    return found


def test_every_service_is_confined(service: Mapping[str, Any]) -> None:
    """Given a service, then it can write to volumes and a bounded /tmp only, and gains no privileges."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "network_mode", "devices"} & set(service)
    assert service["pids_limit"] > 0
    assert all(re.fullmatch(r"/\w+:size=\d+m", mount) for mount in service["tmpfs"])


def test_every_service_is_looked_after(service: Mapping[str, Any]) -> None:
    """Given a service, then it is asked for its health, restarted, bounded in memory and logs, and has an init."""
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["mem_limit"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_images_of_others_are_pinned(service: Mapping[str, Any]) -> None:
    """Given a service that is not ours, then its image has the number of a version."""
    image = service["image"]
    assert "personal-diffusion-" in image or re.search(r":(v|RELEASE\.)?\d+[.-]\d+[.-]\d+", image), image


@pytest.mark.parametrize("name", OURS)
def test_our_own_services_are_not_root(name: str) -> None:
    """Given Redis, API and worker, then each runs as a user of its own."""
    assert not services()[name]["user"].startswith(("0", "root"))


def test_only_loopback_is_published() -> None:
    """Given the published ports, then Redis has none, and the network sees none unless BIND_ADDRESS says so."""
    ports = {name: entry.get("ports", []) for name, entry in services().items()}
    assert ports.pop("redis") == []
    assert ports.pop("api") == ["${BIND_ADDRESS:-127.0.0.1}:${PORT:-5001}:5001"]
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)


def test_redis_keeps_and_refuses() -> None:
    """Given Redis, then it writes to its volume, evicts nothing, and only a network without an exit leads to it."""
    redis = services()["redis"]
    command = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert (command["--appendonly"], command["--maxmemory-policy"]) == ("yes", "noeviction")
    assert redis["volumes"] == ["redis:/data"]
    assert redis["networks"] == ["queue"]
    assert read(BASE)["networks"]["queue"] == {"internal": True}


@pytest.mark.parametrize("name", BUILDS)
def test_the_builds_only_add_to_the_base(name: str) -> None:
    """Given a file that builds, then every service of the base is in it, extended, with nothing written twice."""
    whole, base = read(name), read(BASE)
    assert set(whole["services"]) == set(base["services"])
    assert (whole["name"], whole["networks"], whole["secrets"]) == (base["name"], base["networks"], base["secrets"])
    assert set(whole["volumes"]) == set(base["volumes"])
    for service, entry in whole["services"].items():
        assert entry["extends"]["service"] == service
        assert entry["extends"]["file"] in (BASE, *BUILDS)
        assert set(entry) <= {"extends", "build", "image", "environment", "deploy", "mem_limit"}
        assert service in ("api", "worker") or set(entry) == {"extends"}


@pytest.mark.parametrize(("file", "variant"), [(BUILDS[1], "standard"), (BUILDS[2], "optimized")])
def test_the_gpu_variants_ask_for_gpus(file: str, variant: str) -> None:
    """Given a file for GPUs, then its worker is of that variant; the reservation stands in one place."""
    worker = services(file)["worker"]
    assert worker["environment"]["WORKER_VARIANT"] == variant
    devices = services(BUILDS[1])["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]


def test_every_setting_reaches_the_containers() -> None:
    """Given the settings of the service, then the base file passes each to the API or the worker, and no other.

    A new one goes into x-both, x-api or x-worker of docker-compose.yml.
    """
    passed = set(services()["api"]["environment"]) | set(services()["worker"]["environment"])
    settings = {field.name.upper() for field in fields(Settings)}
    assert settings - LAUNCHER_ONLY - passed == set()
    assert {name for name in passed - settings if not name.startswith(("AWS_", "HF_"))} == set()


def test_only_the_api_knows_the_keys() -> None:
    """Given the keys that open the API, then no other container gets them."""
    knowing = {
        name
        for name, entry in services().items()
        if entry.get("secrets") or {"API_KEYS", "API_KEYS_FILE"} & set(entry.get("environment", {}))
    }
    assert knowing == {"api"}


def test_development_mounts_what_the_images_copy() -> None:
    """Given the sources that the images copy, then the development file mounts each, read-only."""
    for name in ("api", "worker"):
        copied = set(re.findall(r"^COPY (\S+) \1$", (ROOT / name / "Dockerfile").read_text(), re.MULTILINE))
        mounted = {f"./{folder}:/app/{folder}:ro" for folder in copied}
        assert set(services(DEVELOPMENT)[name]["volumes"]) == mounted


WORKER = """
import os, signal, sys
from pathlib import Path
def leave(*_):
    Path(f"{os.getpid()}.ended").touch()
    sys.exit()
signal.signal(signal.SIGINT, leave)
Path(f"{os.getpid()}.begun").touch()
signal.pause()
"""


def test_development_starts_a_worker_anew_when_its_source_changes(tmp_path: Path) -> None:
    """Given the worker's command for development, when a source changes, then the worker has ended in good order and
    another begins; SIGTERM ends all of it."""
    for folder in ("shared", "worker"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "worker/__main__.py").write_text(WORKER)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def workers(suffix: str, count: int, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
        end = time.monotonic() + 60
        while len(found := sorted(file.stem for file in tmp_path.glob(f"*.{suffix}"))) < count:
            assert time.monotonic() < end, f"{suffix}: {found}"
            meanwhile()
            time.sleep(0.05)
        return found

    def change() -> None:
        """Once, but again where the folders were not watched yet."""
        file = tmp_path / "shared/settings.toml"
        if not file.exists() or time.time() - file.stat().st_mtime > 10:
            file.write_text("changed = true")

    watching = subprocess.Popen(
        services(DEVELOPMENT)["worker"]["command"], cwd=tmp_path, env=environment, process_group=0
    )
    try:
        (first,) = workers("begun", 1)
        begun = workers("begun", 2, meanwhile=change)
        assert workers("ended", 1) == [first]
        watching.send_signal(signal.SIGTERM)
        watching.wait(60)
        assert workers("ended", 2) == begun
    finally:
        with suppress(ProcessLookupError):
            os.killpg(watching.pid, signal.SIGKILL)
        watching.wait()


def test_torch_is_the_same_everywhere() -> None:
    """Given the version that `make run` installs, then the images have it too."""
    version = re.search(r"^torch=(\S+)$", (ROOT / "client/install.sh").read_text(), re.MULTILINE)
    assert version
    named = [
        *re.findall(r"TORCH_VERSION[=:-]+(\S+?)\+", (ROOT / "worker/Dockerfile").read_text()),
        *(found for name in BUILDS for found in re.findall(r"TORCH_VERSION:-(\S+?)\+", (ROOT / name).read_text())),
    ]
    assert set(named) == {version[1]}
    assert len(named) == 3


def test_what_is_started_is_there() -> None:
    """Given the modules that compose files, manifests and Dockerfiles start and ask, then each exists."""
    texts = [(ROOT / name).read_text() for name in (BASE, DEVELOPMENT, *BUILDS, *DOCKERFILES)]
    texts += [file.read_text() for file in (ROOT / "deploy/kubernetes").glob("*.yaml")]
    # of ours alone: `python -m worker`, `[python, -m, worker.process.health]`, `python:api.x`, `api.wsgi:app`
    of_ours = r"((?:api|worker)(?:\.\w+)*)\b"
    ways = (rf'-m"?,? "?{of_ours}', rf"python:{of_ours}", rf'"{of_ours}:app"')
    started = {module for text in texts for way in ways for module in re.findall(way, text)}
    assert {"worker", "worker.process.health", "api.serving.gunicorn_conf", "api.wsgi"} <= started
    for module in started:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_and_not_root(name: str) -> None:
    """Given a Dockerfile, then its base is a version by default, the same for both, and its last user is not root."""
    text = (ROOT / name).read_text()
    bases = {
        re.findall(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / other).read_text(), re.MULTILINE)[0] for other in DOCKERFILES
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "10001:10001"


def test_the_images_get_what_they_copy_and_nothing_else() -> None:
    """Given .dockerignore, then everything is left out but what a Dockerfile copies."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for name in DOCKERFILES
        for source in re.findall(r"^COPY (?!--)(\S+) ", (ROOT / name).read_text(), re.MULTILINE)
    }
    inside = {source for source in copied for other in copied if source.startswith(f"{other}/")}
    assert kept - {"demo_model"} == copied - inside


# ---- monitoring


def test_the_dashboard_shows_what_the_api_offers() -> None:
    """Given the dashboard, then it shows each metric that GET /metrics has, and no other of ours."""
    page = exposition([WorkerCard("w", "cpu", "cpu", 1)], waiting=0).decode()
    offered = {family.name for family in text_string_to_metric_families(page)}
    dashboard = json.loads((ROOT / "deploy/metrics/grafana/dashboards/personal-diffusion.json").read_text())
    shown = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"(personal_diffusion_\w+?)(?:_bucket|_sum|_count)?\b", target["expr"])
    }
    assert shown == offered
    source = read("deploy/metrics/grafana/datasources/prometheus.yml")["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert f"http://prometheus:{9090}" == source["url"]


def test_prometheus_asks_the_api() -> None:
    """Given Prometheus' configuration, then it asks the port that the API's container listens on."""
    targets = read("deploy/metrics/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"api:{services()['api']['environment']['PORT']}"]


# ---- with the programs themselves


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """`docker compose`, which reads files without an engine."""
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here: its reading of the files is not tested")
    return ["docker", "compose"]


@pytest.mark.parametrize("files", [(BASE,), *((name,) for name in BUILDS), (BASE, DEVELOPMENT)], ids=lambda f: f[-1])
def test_compose_reads_the_files(compose: list[str], files: tuple[str, ...]) -> None:
    """Given the files, alone or on top of each other, when compose reads them, then it has nothing to say."""
    chosen = [word for name in files for word in ("--file", name)]
    read = subprocess.run([*compose, *chosen, "--profile", "*", "config", "--quiet"], cwd=ROOT, capture_output=True)
    assert (read.returncode, read.stderr.decode()) == (0, "")


def test_the_variants_differ_in_the_worker_only(compose: list[str]) -> None:
    """Given what compose makes of each file, then Redis, the API and all others are the same in each."""

    def resolved(name: str) -> dict[str, Any]:
        command = [*compose, "--file", name, "--profile", "*", "config", "--format", "json"]
        found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)["services"]
        for entry in found.values():
            entry.pop("build", None)
        del found["worker"]
        return dict(found)

    base, *builds = (resolved(name) for name in (BASE, *BUILDS))
    for build in builds:
        assert build == base


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    """Given a Dockerfile, when hadolint reads it, then it finds nothing but what is excepted there with its reason."""
    # where pip puts it is not on the PATH of a virtual environment that was not activated
    found = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([found, name], cwd=ROOT, capture_output=True)
    assert (result.returncode, result.stdout.decode()) == (0, "")


@pytest.mark.parametrize(
    ("service", "secret"), [("flower", "FLOWER_BASIC_AUTH"), ("grafana", "GF_SECURITY_ADMIN_PASSWORD")]
)
def test_tools_do_not_start_without_a_password(service: str, secret: str) -> None:
    """Given a tool with a page of its own, when its password is unset, then its start says so and ends."""
    shell, flag, script, *_ = read("docker-compose.yml")["services"][service]["entrypoint"]
    # compose makes one dollar of two; what follows exec is the image's own
    checked = script.replace("$$", "$").partition("; exec")[0]
    for value, status in (("", 1), ("user:secret", 0)):
        ended = subprocess.run(
            [shell, flag, checked], env={"PATH": "/usr/bin:/bin", secret: value}, capture_output=True
        )
        assert (ended.returncode, bool(ended.stderr)) == (status, status == 1)


# ---- Kubernetes


def manifests() -> Iterator[dict[str, Any]]:
    for file in sorted((ROOT / "deploy/kubernetes").glob("*.yaml")):
        if file.name != "kustomization.yaml":
            yield from filter(None, yaml.safe_load_all(file.read_text()))


def _of_kind(kind: str) -> dict[str, Any]:
    return {entry["metadata"]["name"]: entry for entry in manifests() if entry["kind"] == kind}


def test_manifests_fit_the_schemas() -> None:
    """Given the manifests, when checked against Kubernetes' schemas, then each is valid; KEDA's are not there."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    checked = set()
    for entry in manifests():
        if not entry["apiVersion"].startswith("keda.sh/"):
            validate.validate(entry, "1.30", strict=True)
            checked.add(entry["kind"])
    assert {"Deployment", "Service", "ConfigMap", "PersistentVolumeClaim"} <= checked


def test_kustomize_names_every_manifest() -> None:
    """Given the folder, then `kubectl apply -k` takes every manifest in it."""
    folder = ROOT / "deploy/kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(file.name for file in folder.glob("*.yaml") if file.name != "kustomization.yaml")


def test_pods_are_confined() -> None:
    """Given the pods, then they are as confined as under compose, bounded, and asked for their health."""
    for deployment in _of_kind("Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"startupProbe", "readinessProbe"} & set(container)


def test_pods_are_reached_only_where_they_listen() -> None:
    """Given the pods, then each has a network policy: workers are reached by nobody, the API on its one port."""
    policies = _of_kind("NetworkPolicy")
    assert set(policies) == set(_of_kind("Deployment"))
    for name, deployment in _of_kind("Deployment").items():
        spec = policies[name]["spec"]
        assert spec["podSelector"] == deployment["spec"]["selector"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert policies["personal-diffusion-worker"]["spec"]["ingress"] == []
    assert policies["personal-diffusion-api"]["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]


def test_the_cluster_runs_the_images_of_this_version() -> None:
    """Given the kustomization, then its images are those of the version that this checkout is."""
    images = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())["images"]
    assert {image["newTag"] for image in images} == {VERSION}


def test_settings_in_the_cluster_exist() -> None:
    """Given the ConfigMap of the settings, then each key is a variable that the service reads."""
    known = {field.name.upper() for field in fields(Settings)} | {"HF_HOME", "HOME"}
    given = set(_of_kind("ConfigMap")["personal-diffusion"]["data"])
    for deployment in _of_kind("Deployment").values():
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            given |= {entry["name"] for entry in container.get("env", [])}
    assert given - known == set()


def test_scaling_counts_the_queues_that_there_are() -> None:
    """Given the ScaledObject, then it scales the worker on the length of every queue's list, as Redis calls it."""
    (scaled,) = _of_kind("ScaledObject").values()
    assert scaled["spec"]["scaleTargetRef"]["name"] in _of_kind("Deployment")
    triggers = scaled["spec"]["triggers"]
    assert {trigger["type"] for trigger in triggers} == {"redis"}
    prefix = Settings().key_prefix
    assert {trigger["metadata"]["listName"] for trigger in triggers} == {prefix + name for name in QUEUES.values()}
    authentications = _of_kind("TriggerAuthentication")
    assert all(trigger["authenticationRef"]["name"] in authentications for trigger in triggers)
