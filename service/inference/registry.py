"""Which models are served: loaded from the store, replaced without a restart, the version before kept.

A new version is loaded and warmed beside the running one, then takes its place in one step. The one it replaces stays
loaded, so that ``version=`` still reaches it; the one before that is unloaded. Where a canary share is set, the new
version runs beside the current one instead, also after a restart.

A version that cannot be loaded is refused, and the running one goes on; where none runs yet, the newest version that
can be loaded is served. A refused version is tried again when its files change and, where the cause may pass (memory,
input and output, the runtime), after a delay that doubles.

A version that is deleted from the store is unloaded, once another has taken its place. If the whole store is missing
(``was_deleted``), loaded models keep serving. A request keeps the model that it found until it ends.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from models.card import VariantName
from models.errors import CatseyeError, StoreError, UnknownModel
from models.files import files_below
from models.store.store import StoredModel, get, is_missing, list_models, was_deleted
from service.inference.served_model import ServedModel
from service.metrics import LOAD_BROKEN, LOAD_FAILURES, MODELS_READY

logger = logging.getLogger("catseye")

Key = tuple[str, VariantName]
Loader = Callable[[StoredModel], ServedModel]

RETRY_SECONDS: Final = 5.0
MAX_RETRY_SECONDS: Final = 600.0


@dataclass(frozen=True)
class LoadedVersions:
    """The versions of one variant of a model that are loaded."""

    current: ServedModel
    previous: ServedModel | None = None
    canary: ServedModel | None = None

    def all(self) -> list[ServedModel]:
        """The newest first."""
        return [served for served in (self.canary, self.current, self.previous) if served is not None]

    def without(self, gone: Collection[ServedModel]) -> "LoadedVersions | None":
        """These without some; the previous version, else the canary, takes the place of the current one."""
        current, previous, canary = (
            None if served in gone else served for served in (self.current, self.previous, self.canary)
        )
        if current is not None:
            return LoadedVersions(current, previous, canary)
        successor = previous or canary
        return None if successor is None else LoadedVersions(successor)


@dataclass(frozen=True)
class _Refusal:
    """Why a version is not loaded, and when that is tried again."""

    reason: str
    files: tuple[object, ...]
    """State of its files when it was tried."""
    retry_at: float
    """``time.monotonic()``; infinite for what will not pass by itself."""
    delay: float


class Registry:
    """The served models. ``refresh`` may be called from one thread, everything else from any."""

    def __init__(
        self,
        load: Loader,
        *,
        names: Iterable[str] = (),
        default: str | None = None,
        canary: dict[str, float] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._load = load
        self._names = tuple(names)
        self._default = default
        self._canary = canary or {}
        self._retry_seconds = retry_seconds
        self._models: dict[Key, LoadedVersions] = {}  # replaced as a whole, so that requests read it without a lock
        self._refusals: dict[tuple[Key, str], _Refusal] = {}
        self._seen: set[str] = set()

    def refresh(self) -> None:
        """Look at the store: load new versions, refuse those that cannot be loaded, unload deleted ones.

        Raises ``StoreError`` where the store cannot be read or is missing; nothing has changed then.
        """
        wanted, absent = self._wanted()
        loaded = [served for versions in self._models.values() for served in versions.all()]
        gone = {served for served in loaded if was_deleted(served.stored)}
        for key in {**wanted, **self._models}:
            self._update(key, wanted.get(key, []), gone)
        for served in gone:
            served.retire()
            logger.info("model %s was deleted from the store and is no longer served", served.stored.tag)
        for (key, version), error in absent.items():
            self._refuse(key, version, error, (), 0)
        if wanted or absent:  # else the store may be missing
            self._review(wanted, absent)
        MODELS_READY.set(sum(variant == "accurate" for _, variant in self._models))
        if any(is_missing(served.stored) for served in loaded if served not in gone):
            raise StoreError("The model store holds none of the models that are served. Bring it back.")

    def find(
        self, model: str | None, version: str | None = None, variant: str | None = None, request_id: str = ""
    ) -> ServedModel:
        """The model to use; a canary gets its share of the request ids, always the same ones."""
        models, name = self._models, model or self.default_name()
        versions = models.get((name, "fast" if variant == "fast" else "accurate"))
        if versions is None:
            raise self._unknown(name, variant)
        if version is not None:
            for served in versions.all():
                if served.version == version:
                    return served
            raise UnknownModel(
                f"Version {version[:80]!r} of model {name} is not loaded. "
                f"Loaded are: {', '.join(served.version for served in versions.all())}."
            )
        if versions.canary is not None and share_of(request_id) < self._canary.get(name, 0.0):
            return versions.canary
        return versions.current

    def variants(self, model: str | None) -> list[ServedModel]:
        """The current accurate and fast variants of a model, the accurate one first."""
        models, name = self._models, model or self.default_name()
        keys: tuple[Key, ...] = ((name, "accurate"), (name, "fast"))
        found = [models[key].current for key in keys if key in models]
        if not found:
            raise self._unknown(name, None)
        return found

    def loaded(self, name: str) -> dict[VariantName, LoadedVersions]:
        """The loaded versions of a model by variant; ``UnknownModel`` where it is not served."""
        found = {key[1]: versions for key, versions in sorted(self._models.items()) if key[0] == name}
        if not found:
            raise self._unknown(name, None)
        return found

    def default_name(self) -> str:
        """The model for requests that name none: the one set, or the one stored last."""
        if self._default is not None:
            return self._default.partition(":")[0]
        accurate = [versions.current for (_, variant), versions in self._models.items() if variant == "accurate"]
        if not accurate:
            raise UnknownModel("No model is served yet. Train one with `catseye train DIR --name NAME`.")
        return max(accurate, key=lambda served: served.card.created).name

    def names(self) -> list[str]:
        """Names of the served models, sorted."""
        return sorted({name for name, _ in self._models})

    def refused(self) -> dict[str, dict[str, str]]:
        """Versions that were refused and why, by model."""
        found: dict[str, dict[str, str]] = {}
        for ((name, _), version), refusal in self._refusals.items():
            found.setdefault(name, {})[version] = refusal.reason
        return found

    def close(self) -> None:
        """Close every model."""
        models, self._models = self._models, {}
        for versions in models.values():
            for served in versions.all():
                served.close()
        MODELS_READY.set(0)

    def _wanted(self) -> tuple[dict[Key, list[StoredModel]], dict[tuple[Key, str], CatseyeError]]:
        """The versions of each model to serve, the newest first, or the pinned one; and pins that are not there."""
        pinned = {name: version for name, _, version in (tag.partition(":") for tag in self._names)}
        found: dict[Key, list[StoredModel]] = {}
        for stored in list_models():
            key = _key_of(stored)
            named = not pinned or key[0] in pinned or stored.name in pinned
            if named and pinned.get(stored.name) in (None, "", stored.version):
                found.setdefault(key, []).append(stored)
        absent: dict[tuple[Key, str], CatseyeError] = {}
        for name, version in pinned.items():
            if version and not any(stored.name == name for versions in found.values() for stored in versions):
                try:
                    get(f"{name}:{version}")
                except CatseyeError as error:
                    absent[(name, "accurate"), version] = error
        return dict(sorted(found.items(), key=lambda item: item[0][1])), absent  # accurate variants first

    def _review(self, wanted: dict[Key, list[StoredModel]], absent: Collection[tuple[Key, str]]) -> None:
        """Forget refusals of versions that were deleted, and show whose newest version is refused."""
        there = {(key, stored.version) for key, versions in wanted.items() for stored in versions} | set(absent)
        self._refusals = {which: refusal for which, refusal in self._refusals.items() if which in there}
        newest = {key: versions[0].version for key, versions in wanted.items()}
        broken = {key[0] for key, version in self._refusals if newest.get(key, version) == version}
        self._seen |= {key[0] for key, _ in there}
        for name in self._seen:
            LOAD_BROKEN.labels(name).set(int(name in broken))

    def _update(self, key: Key, available: list[StoredModel], gone: Collection[ServedModel]) -> None:
        """Load what is new of one variant, then publish that and drop what is gone, in one step."""
        before = self._models.get(key)
        now = before and before.without(gone)
        with_canary = key[1] == "accurate" and self._canary.get(key[0], 0.0) > 0
        for served in reversed(self._load_new(key, available, now, 2 if with_canary else 1)):
            if now is None:
                now = LoadedVersions(served)
            elif with_canary:
                now = LoadedVersions(now.current, now.previous, canary=served)
            else:
                now = LoadedVersions(served, previous=now.current)
        if now == before:
            return
        models = {other: versions for other, versions in self._models.items() if other != key}
        self._models = models if now is None else {**models, key: now}
        for served in before.all() if before else ():
            if served not in gone and (now is None or served not in now.all()):
                served.retire()

    def _load_new(
        self, key: Key, available: list[StoredModel], loaded: LoadedVersions | None, most: int
    ) -> list[ServedModel]:
        """Load the newest version or, where none is loaded, the ``most`` newest that can be loaded."""
        have = {served.version for served in loaded.all()} if loaded else set()
        found: list[ServedModel] = []
        for stored in available:
            if stored.version in have or len(found) == most:
                break
            if (served := self._try(key, stored)) is not None:
                found.append(served)
            if loaded is not None:
                break
        return found

    def _try(self, key: Key, stored: StoredModel) -> ServedModel | None:
        """Load a version, unless it was refused and nothing says that it would be otherwise now."""
        refusal = self._refusals.get((key, stored.version))
        files = _state_of(stored)
        if refusal is not None and refusal.files == files and time.monotonic() < refusal.retry_at:
            return None
        try:
            served = self._load(stored)
        except Exception as error:  # a broken file can make a runtime raise anything
            delay = math.inf
            if _may_pass(error, stored):
                again = refusal is not None and refusal.delay < math.inf
                delay = min(2 * refusal.delay, MAX_RETRY_SECONDS) if refusal and again else self._retry_seconds
            self._refuse(key, stored.version, error, files, delay)
            return None
        self._refusals = {which: other for which, other in self._refusals.items() if which != (key, stored.version)}
        served.activate()
        logger.info("serving %s (%s)", stored.tag, key[1])
        return served

    def _refuse(self, key: Key, version: str, error: Exception, files: tuple[object, ...], delay: float) -> None:
        """Note why a version is not loaded; try again after so many seconds."""
        reason = error.detail if isinstance(error, CatseyeError) else f"It cannot be loaded ({type(error).__name__})."
        before = self._refusals.get((key, version))
        refusal = _Refusal(reason, files, time.monotonic() + delay, delay)
        self._refusals = {**self._refusals, (key, version): refusal}
        if before is None:
            LOAD_FAILURES.labels(key[0]).inc()
        if before is None or before.reason != reason:
            again = f" It is tried again in {delay:.0f} s." if 0 < delay < math.inf else ""
            unexpected = None if isinstance(error, CatseyeError) else error
            logger.error("model %s:%s is refused: %s%s", key[0], version, reason, again, exc_info=unexpected)

    def _unknown(self, name: str, variant: str | None) -> UnknownModel:
        if variant == "fast" and (name, "accurate") in self._models:
            return no_fast_variant(name)
        served = ", ".join(self.names()) or "none"
        return UnknownModel(f"Model {name[:80]!r} is not served. Served are: {served}.")


def _key_of(stored: StoredModel) -> Key:
    return (stored.card.variant_of or stored.name, "fast" if stored.card.variant_of else "accurate")


def _state_of(stored: StoredModel) -> tuple[object, ...]:
    """Names, times and sizes of a version's files: whether one was changed since."""
    try:
        found = [(name, path.stat()) for name, path in files_below(stored.path)]
    except OSError:
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _may_pass(error: BaseException | None, stored: StoredModel) -> bool:
    """Whether a version could not be loaded for want of memory or the like, and not for what its files hold."""
    while error is not None:
        # The files of a card with hashes are those that were stored, once the runtime is reached.
        if isinstance(error, MemoryError | OSError) or (isinstance(error, RuntimeError) and stored.card.files):
            return True
        error = error.__cause__
    return False


def no_fast_variant(name: str) -> UnknownModel:
    """The error where the fast variant of a model is asked for and there is none."""
    return UnknownModel(
        f"Model {name} has no fast variant. Train one with `catseye train DIR --name {name}-fast --variant-of {name}`."
    )


def share_of(request_id: str) -> float:
    """A number in [0, 100) that is always the same for the same request id."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:4], "big") * 100 / 2**32


def describe(registry: Registry, name: str) -> dict[str, Any]:
    """The answer of ``/v1/models/{name}``; ``UnknownModel`` where it is not served."""
    loaded = registry.loaded(name)
    main = (loaded.get("accurate") or loaded["fast"]).current
    return {
        "name": name,
        "default": name == registry.default_name(),
        "labels": list(main.card.labels),
        "taps": [tap.model_dump(mode="json") for tap in main.card.taps],
        "variants": {
            variant: {
                **versions.current.describe(),
                "loaded_versions": [served.version for served in versions.all()],
                "canary": versions.canary.version if versions.canary else None,
            }
            for variant, versions in loaded.items()
        },
        "refused": registry.refused().get(name, {}),
    }
