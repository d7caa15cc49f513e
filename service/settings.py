"""The settings of the service: environment variables ``CATSEYE_*``, typed, read once."""

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
    """Settings of the service. The defaults serve every model in the store."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".catseye")
    """Folder for caches and training runs."""
    models: Names = ()
    """Models to serve, as `name` or `name:version` (pinned), separated by commas. Empty: every model in the store."""
    default_model: str | None = None
    """Model for requests that name none. Default: the one stored last."""
    runtime: Literal["openvino", "tensorflow"] = "openvino"
    """Library that runs the networks."""
    precision: Literal["float32", "bfloat16", "int8"] | None = None
    """Numeric precision of the networks. Default: what each model's card says. TensorFlow always runs float32."""
    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes. Each loads its own copy of every model."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """Threads of a worker that decode images and run networks. Default: as measured, else two for each processor."""
    streams: int | None = Field(default=None, ge=1, le=256)
    """Concurrent runs of a network; TensorFlow divides the processors between them. Default: as measured, else one for
    each processor."""
    batch: int | None = Field(default=None, ge=1, le=256)
    """Largest batch. Default: as measured, else 4 for TensorFlow and 1 for OpenVINO."""
    batch_wait_ms: float | None = Field(default=None, ge=0, le=1000)
    """Milliseconds that a batch which is not full waits for images being decoded. Default: as measured, else 2."""
    tune_seconds: float = Field(default=2.0, ge=0, le=60)
    """Seconds to spend at the first start with a network to measure how to run it fastest. 0: do not measure."""
    cache_mb: float = Field(default=0.0, ge=0, le=65_536)
    """Size of the response cache for repeated images, in megabytes. 0: off."""
    queue: int = Field(default=256, ge=1, le=100_000)
    """Images that may wait for each model. Further requests are answered 503 with `Retry-After`."""
    timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds until a request that has no answer yet is answered 504."""
    max_body_mb: float = Field(default=20.0, gt=0, le=1024)
    """Largest request body, in megabytes."""
    max_bodies_mb: float = Field(default=256.0, gt=0, le=1_048_576)
    """Memory for the request bodies that a worker holds together, in megabytes, at least `max_body_mb`. Beyond it, the
    largest body that is still being sent is refused."""
    max_megapixels: float = Field(default=50.0, gt=0, le=1000)
    """Largest image, in megapixels."""
    max_frames: int = Field(default=1000, ge=1)
    """Most frames of an animation. Only the first frame is read."""
    max_images: int = Field(default=32, ge=1, le=1024)
    """Most images in one multipart request."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), repr=False)
    """API keys, separated by commas, for the header `X-API-Key` or `Authorization: Bearer`. Empty: no key is needed."""
    cors_origins: Names = ()
    """Origins of web pages that may call the service (CORS), separated by commas. `*`: any."""
    reload_seconds: float = Field(default=2.0, ge=0, le=3600)
    """Seconds between checks of the store for new versions. 0: only at the start."""
    canary: Weights = {}
    """Percentage of requests that the newest version of a model gets, beside the version before: `name=10`."""
    overload_fast: bool = False
    """Under overload, answer with the fast variant, if there is one, instead of 503."""
    drain_seconds: float = Field(default=3.0, ge=0, le=600)
    """On SIGTERM, seconds between `/readyz` turning 503 and refusing new requests."""
    hang_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Kill and replace a worker that has not responded for this many seconds, 5 or more. 0: never."""
    access_log: bool = True
    """Log one JSON line for each request to standard output."""
    grafana_url: str | None = None
    """Address of Grafana for the link on the page."""

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
    def _long_enough(cls, value: float) -> float:
        if 0 < value < 5:
            raise ValueError("a busy worker may not respond for some seconds; give 5 or more, or 0 for never")
        return value

    @property
    def limits(self) -> "Limits":
        """The decoder's limits."""
        # Imported here, since the launcher and the supervisor need settings, but no decoder.
        from models.image.decode import Limits

        return Limits(
            max_bytes=self.max_body_bytes,
            max_pixels=int(self.max_megapixels * 1e6),
            max_frames=self.max_frames,
        )

    @property
    def max_body_bytes(self) -> int:
        """``max_body_mb`` in bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_bodies_bytes(self) -> int:
        """The limit for all bodies together, in bytes: ``max_bodies_mb``, and at least ``max_body_mb``."""
        return max(int(self.max_bodies_mb * 1e6), self.max_body_bytes)

    def ineffective(self) -> list[str]:
        """A sentence for each setting that has no effect, or another one than it says, because of others."""
        found = []
        if self.runtime == "tensorflow" and self.precision not in (None, "float32"):
            found.append(f"CATSEYE_PRECISION={self.precision} has no effect: TensorFlow runs float32.")
        if ":" in (self.default_model or ""):
            found.append("The version in CATSEYE_DEFAULT_MODEL has no effect. Pin a version with CATSEYE_MODELS.")
        pinned = {tag.partition(":")[0] for tag in self.models if ":" in tag}
        if canaries := ", ".join(sorted(pinned & self.canary.keys())):
            found.append(f"CATSEYE_CANARY has no effect on {canaries}: CATSEYE_MODELS pins a single version.")
        if self.max_bodies_bytes > self.max_bodies_mb * 1e6:
            found.append("CATSEYE_MAX_BODIES_MB is less than CATSEYE_MAX_BODY_MB, so the latter is used for both.")
        return found


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
