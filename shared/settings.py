"""Every environment variable of the service, typed, with its default. The only reader of the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environs import Env, EnvError
from marshmallow.validate import Range, Regexp

from shared.callback_hosts import CallbackHosts
from shared.redis.address import RedisAddress
from shared.setting_values import Environment, byte_count, choice, entries, folder, folders, home, pixel_count
from shared.text_files import NotUtf8, lines_of, read_text_file
from shared.variants import WORKER_VARIANTS

DUMMY_API_KEY = "lksalsdfjliadfds"
TORCH, OPENVINO = "torch", "openvino"
AUTO, KEEP, CANCEL = "auto", "keep", "cancel"
_MIB = 1024 * 1024
_LONGEST_PRESIGNED_S = 7 * 24 * 3600  # signature version 4 of S3 allows no more
_GPUS = Regexp(r"(?i:\s*(all|\d+(,\d+)*)?\s*)$", error="Must be 'all' or numbers separated by commas, as in '0,1'.")
_HOST_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.\-]+(:\d+)?|https?://\[[0-9A-Fa-f:.]+\](:\d+)?")


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """What an operator can set. Durations in seconds, sizes in bytes unless the name says otherwise."""

    # where things are
    redis_url: str = "redis://127.0.0.1:6379/0"
    key_prefix: str = "pd:"
    output_dir: str = "outputs"
    models_dir: Path = Path("models")
    extra_models_dirs: tuple[str, ...] = ()
    prompts_dir: Path = Path("prompts")
    host: str = "127.0.0.1"
    port: int = 5001
    redis_timeout_s: float = 2.0

    # who may ask
    api_keys: tuple[str, ...] = ()
    api_keys_file: str = ""
    cors_origins: tuple[str, ...] = ()
    private_results: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allow_dummy_key: bool = False
    open_access: bool = False
    allow_open_access: bool = False
    bind_address: str = ""

    # what may be asked for
    default_model: str = "demo"
    allow_downloads: bool = False
    hf_hub_offline: bool = False
    hf_endpoint: str = ""
    model_sources: tuple[str, ...] = ()
    max_body_bytes: int = 32 * _MIB
    max_input_pixels: int = 16_000_000
    max_pixels: int = 0
    input_decoders: int = 2
    input_decode_s: float = 20.0
    max_images_per_job: int = 64
    max_job_cost: int = 1_000_000_000
    max_prompt_chars: int = 10_000
    max_waiting_jobs: int = 1000
    max_jobs_per_key: int = 0
    max_job_bytes: int = 4 * _MIB
    max_key_bytes: int = 256 * _MIB
    rate_limit: str = ""
    sync_timeout_s: float = 120.0
    dialect_timeout_s: float = 600.0
    sync_waiters: int = 100
    event_listeners: int = 500
    on_disconnect: str = AUTO
    disconnect_grace_s: float = 30.0
    idempotency_ttl_s: int = 24 * 3600
    retry_window_s: float = 5.0
    api_processes: int = 1
    api_connections: int = 1000
    api_connections_per_address: int = 256
    proxy_count: int = 0
    body_timeout_s: float = 300.0
    stall_timeout_s: float = 30.0
    body_memory: int = 128 * _MIB
    wrong_keys_per_minute: int = 60

    # who may be told that a job has ended
    callback_hosts: tuple[str, ...] = ()
    callback_secret: str = ""
    callback_attempts: int = 8

    # how long things live
    result_ttl_s: int = 24 * 3600
    tombstone_ttl_s: int = 7 * 24 * 3600
    result_quota_bytes: int = 0
    job_deadline_s: float = 3600.0
    max_wait_s: float = 48 * 3600.0
    presigned_links_s: int = 0

    # workers
    worker_variant: str = "cpu"
    worker_slots: int = 16
    warm_up_s: float = 3.0
    worker_count: int = 1
    device: str = "auto"
    worker_gpus: str = ""
    worker_events: bool = False
    torch_threads: int = 0
    torch_compile: bool = False
    cpu_backend: str = TORCH
    compile_cache_dir: Path = Path(".compiled")
    model_memory: int = 8 * 1024 * _MIB
    model_idle_s: float = 0.0
    controlnet_memory: int = 4 * 1024 * _MIB
    max_attempts: int = 3
    visibility_timeout_s: float = 30.0
    worker_beat_s: float = 3.0
    log_level: str = "INFO"
    log_format: str = "text"
    access_log: bool = True

    @property
    def worker_ttl_s(self) -> float:
        """How long a worker counts as alive after it last said so."""
        return 3 * self.worker_beat_s + 1

    @property
    def accepted_keys(self) -> tuple[str, ...]:
        """The keys that open the API: those that were set, else the documented dummy."""
        return self.api_keys or (DUMMY_API_KEY,)


def read_settings() -> Settings:
    """Read the environment; raises SettingsError naming the variable that is wrong.

    A variable that is set to nothing counts as not set.
    """
    env = Environment()
    default = Settings()
    try:
        return Settings(
            redis_url=_redis(env, default.redis_url),
            key_prefix=env.str("KEY_PREFIX", default.key_prefix),
            output_dir=home("OUTPUT_DIR", env.str("OUTPUT_DIR", default.output_dir)),
            models_dir=folder(env, "MODELS_DIR", default.models_dir),
            extra_models_dirs=folders(env, "EXTRA_MODELS_DIRS"),
            prompts_dir=folder(env, "PROMPTS_DIR", default.prompts_dir),
            host=env.str("HOST", default.host).strip().removeprefix("[").removesuffix("]"),
            port=env.int("PORT", default.port, validate=Range(1, 65535)),
            api_keys=_keys(env),
            api_keys_file=home("API_KEYS_FILE", env.str("API_KEYS_FILE", default.api_keys_file)),
            cors_origins=_origins(env),
            private_results=env.bool("PRIVATE_RESULTS", default.private_results),
            allowed_hosts=_host_names(env),
            allow_dummy_key=env.bool("ALLOW_DUMMY_KEY", default.allow_dummy_key),
            open_access=env.bool("OPEN_ACCESS", default.open_access),
            allow_open_access=env.bool("ALLOW_OPEN_ACCESS", default.allow_open_access),
            bind_address=env.str("BIND_ADDRESS", default.bind_address),
            default_model=env.str("DEFAULT_MODEL", default.default_model),
            allow_downloads=env.bool("ALLOW_DOWNLOADS", default.allow_downloads),
            hf_hub_offline=env.bool("HF_HUB_OFFLINE", default.hf_hub_offline),
            hf_endpoint=env.str("HF_ENDPOINT", default.hf_endpoint),
            model_sources=entries(env, "MODEL_SOURCES"),
            max_body_bytes=byte_count(env, "MAX_BODY_BYTES", default.max_body_bytes, least=1024),
            max_input_pixels=env.int("MAX_INPUT_PIXELS", default.max_input_pixels, validate=Range(64 * 64)),
            max_pixels=pixel_count(env, "MAX_PIXELS", default.max_pixels, least=64 * 64),
            input_decoders=env.int("INPUT_DECODERS", default.input_decoders, validate=Range(1)),
            input_decode_s=env.float("INPUT_DECODE_S", default.input_decode_s, validate=Range(0.1)),
            max_images_per_job=env.int("MAX_IMAGES_PER_JOB", default.max_images_per_job, validate=Range(1)),
            max_job_cost=env.int("MAX_JOB_COST", default.max_job_cost, validate=Range(1)),
            max_prompt_chars=env.int("MAX_PROMPT_CHARS", default.max_prompt_chars, validate=Range(1)),
            max_waiting_jobs=env.int("MAX_WAITING_JOBS", default.max_waiting_jobs, validate=Range(0)),
            max_jobs_per_key=env.int("MAX_JOBS_PER_KEY", default.max_jobs_per_key, validate=Range(0)),
            max_job_bytes=byte_count(env, "MAX_JOB_BYTES", default.max_job_bytes),
            max_key_bytes=byte_count(env, "MAX_KEY_BYTES", default.max_key_bytes),
            rate_limit=env.str("RATE_LIMIT", default.rate_limit),
            sync_timeout_s=env.float("SYNC_TIMEOUT_S", default.sync_timeout_s, validate=Range(0)),
            dialect_timeout_s=env.float("DIALECT_TIMEOUT_S", default.dialect_timeout_s, validate=Range(0)),
            sync_waiters=env.int("SYNC_WAITERS", default.sync_waiters, validate=Range(0)),
            event_listeners=env.int("EVENT_LISTENERS", default.event_listeners, validate=Range(0)),
            on_disconnect=choice(env, "ON_DISCONNECT", default.on_disconnect, (AUTO, KEEP, CANCEL)),
            disconnect_grace_s=env.float("DISCONNECT_GRACE_S", default.disconnect_grace_s, validate=Range(0)),
            idempotency_ttl_s=env.int("IDEMPOTENCY_TTL_S", default.idempotency_ttl_s, validate=Range(1)),
            retry_window_s=env.float("RETRY_WINDOW_S", default.retry_window_s, validate=Range(0)),
            api_processes=env.int("API_PROCESSES", default.api_processes, validate=Range(1)),
            api_connections=env.int("API_CONNECTIONS", default.api_connections, validate=Range(1)),
            api_connections_per_address=env.int(
                "API_CONNECTIONS_PER_ADDRESS", default.api_connections_per_address, validate=Range(0)
            ),
            proxy_count=env.int("PROXY_COUNT", default.proxy_count, validate=Range(0)),
            body_timeout_s=env.float("BODY_TIMEOUT_S", default.body_timeout_s, validate=Range(1)),
            stall_timeout_s=env.float("STALL_TIMEOUT_S", default.stall_timeout_s, validate=Range(1)),
            body_memory=byte_count(env, "BODY_MEMORY", default.body_memory),
            wrong_keys_per_minute=env.int("WRONG_KEYS_PER_MINUTE", default.wrong_keys_per_minute, validate=Range(0)),
            result_ttl_s=env.int("RESULT_TTL_S", default.result_ttl_s, validate=Range(1)),
            tombstone_ttl_s=env.int("TOMBSTONE_TTL_S", default.tombstone_ttl_s, validate=Range(1)),
            result_quota_bytes=byte_count(env, "RESULT_QUOTA_BYTES", default.result_quota_bytes),
            job_deadline_s=env.float("JOB_DEADLINE_S", default.job_deadline_s, validate=Range(1)),
            max_wait_s=env.float("MAX_WAIT_S", default.max_wait_s, validate=Range(0)),
            presigned_links_s=env.int(
                "PRESIGNED_LINKS_S", default.presigned_links_s, validate=Range(0, _LONGEST_PRESIGNED_S)
            ),
            callback_hosts=_hosts(env, "CALLBACK_HOSTS"),
            callback_secret=env.str("CALLBACK_SECRET", default.callback_secret),
            callback_attempts=env.int("CALLBACK_ATTEMPTS", default.callback_attempts, validate=Range(1, 20)),
            worker_variant=choice(env, "WORKER_VARIANT", default.worker_variant, WORKER_VARIANTS),
            worker_slots=env.int("WORKER_SLOTS", default.worker_slots, validate=Range(1)),
            warm_up_s=env.float("WARM_UP_S", default.warm_up_s, validate=Range(0)),
            worker_count=env.int("WORKER_COUNT", default.worker_count, validate=Range(1)),
            device=env.str("DEVICE", default.device).strip().lower(),
            worker_gpus=env.str("WORKER_GPUS", default.worker_gpus, validate=_GPUS).strip().lower(),
            worker_events=env.bool("WORKER_EVENTS", default.worker_events),
            torch_threads=env.int("TORCH_THREADS", default.torch_threads, validate=Range(0)),
            torch_compile=env.bool("TORCH_COMPILE", default.torch_compile),
            cpu_backend=choice(env, "CPU_BACKEND", default.cpu_backend, (TORCH, OPENVINO)),
            compile_cache_dir=folder(env, "COMPILE_CACHE_DIR", default.compile_cache_dir),
            model_memory=byte_count(env, "MODEL_MEMORY", default.model_memory),
            model_idle_s=env.float("MODEL_IDLE_S", default.model_idle_s, validate=Range(0)),
            controlnet_memory=byte_count(env, "CONTROLNET_MEMORY", default.controlnet_memory),
            max_attempts=env.int("MAX_ATTEMPTS", default.max_attempts, validate=Range(1)),
            visibility_timeout_s=env.float("VISIBILITY_TIMEOUT_S", default.visibility_timeout_s, validate=Range(1)),
            worker_beat_s=env.float("WORKER_BEAT_S", default.worker_beat_s, validate=Range(0.1)),
            log_level=choice(env, "LOG_LEVEL", default.log_level, ("DEBUG", "INFO", "WARNING", "ERROR")),
            log_format=choice(env, "LOG_FORMAT", default.log_format, ("text", "json")),
            access_log=env.bool("ACCESS_LOG", default.access_log),
            redis_timeout_s=env.float("REDIS_TIMEOUT_S", default.redis_timeout_s, validate=Range(0.1)),
        )
    except EnvError as wrong:
        raise SettingsError(str(wrong)) from None


def _hosts(env: Env, name: str) -> tuple[str, ...]:
    hosts = entries(env, name)
    try:
        CallbackHosts(hosts)
    except ValueError as wrong:
        raise SettingsError(f"{name}: {wrong}") from None
    return hosts


def _redis(env: Env, default: str) -> str:
    url = env.str("REDIS_URL", default)
    try:
        RedisAddress.parse(url)
    except ValueError as wrong:
        raise SettingsError(f"REDIS_URL: {wrong}") from None
    return url


def _origins(env: Env) -> tuple[str, ...]:
    # browsers write scheme and host in lower case
    origins = tuple(origin.lower() for origin in entries(env, "CORS_ORIGINS"))
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"CORS_ORIGINS: '{origin}' is no origin; write it like https://host or http://host:8080"
            )
    return origins


def _host_names(env: Env) -> tuple[str, ...]:
    names = tuple(name.lower() for name in entries(env, "ALLOWED_HOSTS"))
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise SettingsError(
                f"ALLOWED_HOSTS: '{name}' is no name of a host; write it without scheme and port, like images.example "
                "or *.example"
            )
    return names


def _keys(env: Env) -> tuple[str, ...]:
    """The keys of API_KEYS, and those of the file API_KEYS_FILE, one a line; `#` begins a comment line."""
    keys = list(entries(env, "API_KEYS"))
    if file := env.str("API_KEYS_FILE", ""):
        try:
            lines = lines_of(read_text_file(Path(home("API_KEYS_FILE", file))))
        except OSError:
            raise SettingsError("API_KEYS_FILE: the file cannot be read") from None
        except NotUtf8 as wrong:
            raise SettingsError(f"API_KEYS_FILE: the file {wrong}") from None
        keys += [line.strip() for line in lines if not line.lstrip().startswith("#")]
        if not any(keys):
            raise SettingsError("API_KEYS_FILE: the file holds no key")
    return tuple(dict.fromkeys(filter(None, keys)))


def environment_with(**changes: str) -> Mapping[str, str]:
    """This process's environment with these changes, for a child process."""
    return {**os.environ, **changes}


def bare_environment(**changes: str) -> Mapping[str, str]:
    """What a child process needs to start, and these changes: no key, no address, nothing of this service."""
    needed = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in needed if name in os.environ} | changes


def limit_spinning() -> None:
    """Ask GNU's OpenMP to spin for microseconds only while it waits; an operator's own choice stands.

    Must be called before torch is imported. Spinning threads take the cores from the threads that they wait for, and
    sleeping ones are slow to wake: of the policies in `benchmarks/results/idle_threads.json` this one is within a
    seventh of the best, alone and with others; OpenMP's own takes three times as long where two workers draw.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = "1000"


def keep_compiled_kernels(folder: Path) -> None:
    """Let torch's compiler keep what it makes in `folder`, for the next start; an operator's own choice stands.

    Must be called before anything is compiled.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.resolve()))
