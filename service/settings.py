"""Every setting of the service: environment variables ``CATSEYE_*``, read once, typed."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.errors import BadParameter

if TYPE_CHECKING:
    from models.image.decode import Limits

PREFIX = "CATSEYE_"

Names = Annotated[tuple[str, ...], NoDecode]
Weights = Annotated[dict[str, float], NoDecode]


class Settings(BaseSettings):
    """What an operator can set; the defaults serve every model in the store."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".catseye")
    """Folder for caches and run folders."""
    models: Names = ()
    """Models to serve, `name` or `name:version` (pinned), separated by commas; empty means every model in the store."""
    default_model: str | None = None
    """Model that answers when a request names none; by default the one stored last."""
    runtime: Literal["openvino", "tensorflow"] = "openvino"
    """What runs the networks."""
    precision: Literal["float32", "bfloat16", "int8"] | None = None
    """Precision to run in; by default what each model's card says."""
    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes; each holds its own copy of every model."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """Threads of a worker that decode and infer; by default as measured, else two for each processor."""
    streams: int | None = Field(default=None, ge=1, le=256)
    """Runs of a network at once, among which TensorFlow divides the processors; by default as measured, else one for
    each processor."""
    batch: int | None = Field(default=None, ge=1, le=256)
    """Most images in one run of a network; by default as measured, else 4 for TensorFlow and 1 for OpenVINO."""
    batch_wait_ms: float | None = Field(default=None, ge=0, le=1000)
    """Longest that a batch which is not full waits for images that are on their way; by default as measured, else 2."""
    tune_seconds: float = Field(default=2.0, ge=0, le=60)
    """Seconds to measure, at the first start with a network on a machine, how to run it fastest; 0 for not at all."""
    cache_mb: float = Field(default=0.0, ge=0, le=65_536)
    """Megabytes of answers kept for images that come again; 0 turns it off."""
    queue: int = Field(default=256, ge=1, le=100_000)
    """Images that may wait for each model; beyond it requests are refused with 503 and `Retry-After`."""
    timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds until a request that still waits is answered 504."""
    max_body_mb: float = Field(default=20.0, gt=0, le=1024)
    """Largest request body, in megabytes."""
    max_bodies_mb: float = Field(default=256.0, gt=0, le=1_048_576)
    """Megabytes of all request bodies that a worker holds; beyond it the largest still being sent is refused."""
    max_megapixels: float = Field(default=50.0, gt=0, le=1000)
    """Largest image, in megapixels, by its header."""
    max_frames: int = Field(default=1000, ge=1)
    """Most frames of an animation (only the first is read)."""
    max_images: int = Field(default=32, ge=1, le=1024)
    """Most images in one multipart request."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), repr=False)
    """Keys, separated by commas, one of which `X-API-Key` or `Authorization: Bearer` must bring; empty means open."""
    cors_origins: Names = ()
    """Origins of web pages that may call the service, separated by commas; `*` for any."""
    reload_seconds: float = Field(default=2.0, ge=0, le=3600)
    """How often the store is looked at for new versions; 0 turns it off."""
    canary: Weights = {}
    """Share of requests, in percent, that a model's new version gets beside the old one: `name=10`."""
    overload_fast: bool = False
    """Answer with the fast variant, where there is one, rather than refuse under overload."""
    drain_seconds: float = Field(default=3.0, ge=0, le=600)
    """Seconds between `/readyz` turning 503 and the end of accepting requests, on SIGTERM."""
    hang_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Seconds without a sign of life until a worker that stands still is killed and replaced; 0 for never."""
    access_log: bool = True
    """Write one JSON line for each request to standard output."""
    grafana_url: str | None = None
    """Address of Grafana that the page links to."""

    @field_validator("models", "cors_origins", "api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("canary", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = (part.partition("=") for part in value.split(",") if part.strip())
        return {name.strip(): weight for name, _, weight in pairs}

    @field_validator("canary")
    @classmethod
    def _percent(cls, value: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= weight <= 100 for weight in value.values()):
            raise ValueError("a share is a percentage from 0 to 100")
        return value

    @field_validator("hang_seconds")
    @classmethod
    def _patient(cls, value: float) -> float:
        if 0 < value < 5:
            raise ValueError("a busy worker may be silent for some seconds; give 5 or more, or 0 for never")
        return value

    @property
    def limits(self) -> "Limits":
        """The decoder's limits."""
        # Here, since whoever only reads settings (the supervisor, the launcher) needs no decoder.
        from models.image.decode import Limits

        return Limits(
            max_bytes=self.max_body_bytes,
            max_pixels=int(self.max_megapixels * 1e6),
            max_frames=self.max_frames,
        )

    @property
    def max_body_bytes(self) -> int:
        """The body limit in bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_bodies_bytes(self) -> int:
        """The limit for all bodies together in bytes, which leaves room for one of the largest."""
        return max(int(self.max_bodies_mb * 1e6), self.max_body_bytes)


def read_settings() -> Settings:
    """The settings in the environment; ``BadParameter`` names the first bad one."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = PREFIX + str(first["loc"][0]).upper()
        raise BadParameter(f"The setting {key} is wrong: {first['msg']}. Correct it or remove it.") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings, read at the first call."""
    return read_settings()
