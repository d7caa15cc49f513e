"""Which models are served: loaded from the store, replaced without a restart, the old one kept.

A new version is loaded and warmed beside the running one, then put in its place in one step. The one it
replaces stays loaded, so that ``version=`` still reaches it and a roll-back is immediate; the one before
that is let go. A version that cannot be loaded is refused and named, and the running one goes on; where none runs yet
(a worker that has just been started), the newest older one that can be loaded takes its place.

A version that is deleted from the store is let go, once the one before has taken its place. Where the whole store is
away (``was_deleted``), everything stays as it is. What is let go ends with the last request that found it.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable
from typing import Any

from models.card import VariantName
from models.errors import CatseyeError, StoreError, UnknownModel
from models.store.store import StoredModel, get, is_missing, list_models, was_deleted
from service.inference.served_model import Loader, Served
from service.inference.slot import Slot
from service.metrics import LOAD_BROKEN, LOAD_FAILURES, MODELS_READY

logger = logging.getLogger("catseye")

Key = tuple[str, VariantName]


class Registry:
    """The served models. ``refresh`` may be called from one thread, everything else from any."""

    def __init__(
        self,
        load: Loader,
        *,
        names: Iterable[str] = (),
        default: str | None = None,
        canary: dict[str, float] | None = None,
    ) -> None:
        self._load = load
        self._names = tuple(names)
        self._default = default
        self._canary = canary or {}
        self._slots: dict[Key, Slot] = {}
        self._refused: dict[Key, dict[str, str]] = {}
        self._absent: set[str] = set()
        self.changes = 0
        """How many versions have been taken or let go so far."""

    def refresh(self) -> None:
        """Look at the store: load what is new, refuse what is broken, let go what was deleted.

        Raises ``StoreError`` where the store cannot be read or is away; nothing has changed then.
        """
        wanted = self._wanted()
        loaded = [served for slot in self._slots.values() for served in slot.versions()]
        gone = {served for served in loaded if was_deleted(served.stored)}
        for versions in wanted:
            for stored in versions:
                key = _key_of(stored)
                if stored.version in self._staying(key, gone):
                    break
                if stored.version not in self._refused.get(key, {}):
                    self._take(key, stored)
                if self._staying(key, gone):
                    break
        self._let_go(gone)
        self._forget_refusals(wanted)
        MODELS_READY.set(sum(variant == "accurate" for _, variant in self._slots))
        if any(is_missing(served.stored) for served in loaded if served not in gone):
            raise StoreError("The model store holds none of the models that are served. Bring it back.")

    def find(
        self, model: str | None, version: str | None = None, variant: str | None = None, request_id: str = ""
    ) -> Served:
        """The model to use; a canary gets its share of the request ids, always the same ones."""
        name = model or self.default_name()
        wanted: VariantName = "fast" if variant == "fast" else "accurate"
        slot = self._slots.get((name, wanted))
        if slot is None:
            raise self._unknown(name, wanted)
        if version is not None:
            for served in slot.versions():
                if served.version == version:
                    return served
            raise UnknownModel(
                f"Version {version[:80]!r} of model {name} is not loaded. "
                f"Loaded are: {', '.join(served.version for served in slot.versions())}."
            )
        if slot.canary is not None and share_of(request_id) < self._canary.get(name, 0.0):
            return slot.canary
        return slot.current

    def variants(self, model: str | None) -> list[Served]:
        """The current accurate and fast variants of a model, the accurate one first."""
        name = model or self.default_name()
        found = [self._slots.get((name, "accurate")), self._slots.get((name, "fast"))]
        served = [slot.current for slot in found if slot is not None]
        if not served:
            raise self._unknown(name, "accurate")
        return served

    def default_name(self) -> str:
        """The model for requests that name none: the one set, or the one stored last."""
        if self._default is not None:
            return self._default.partition(":")[0]
        currents = [slot.current for (_, variant), slot in self._slots.items() if variant == "accurate"]
        if not currents:
            raise UnknownModel("No model is served yet. Train one with `catseye train DIR --name NAME`.")
        return max(currents, key=lambda served: served.card.created).name

    def names(self) -> list[str]:
        """Names of the served models, sorted."""
        return sorted({name for name, _ in self._slots})

    def slots(self, name: str) -> dict[VariantName, Slot]:
        """The variants of a model."""
        return {variant: slot for (model, variant), slot in sorted(self._slots.items()) if model == name}

    def refused(self) -> dict[str, dict[str, str]]:
        """Versions that were refused and why, by model."""
        merged: dict[str, dict[str, str]] = {}
        for (name, _), versions in self._refused.items():
            merged.setdefault(name, {}).update(versions)
        return merged

    def close(self) -> None:
        """Close every model."""
        slots, self._slots = self._slots, {}
        for slot in slots.values():
            for served in slot.versions():
                served.close()
        MODELS_READY.set(0)

    def _wanted(self) -> list[list[StoredModel]]:
        """The versions of each model to serve, the newest first, or the pinned one; accurate variants first."""
        found: dict[str, list[StoredModel]] = {}
        pinned = {tag.partition(":")[0]: tag for tag in self._names}
        for stored in list_models():
            name = stored.card.variant_of or stored.name
            if pinned and name not in pinned and stored.name not in pinned:
                continue
            found.setdefault(stored.name, []).append(stored)
        for name, tag in pinned.items():
            if ":" in tag:
                try:
                    found[name] = [get(tag)]
                except CatseyeError as error:
                    found.pop(name, None)
                    self._absent.add(tag)
                    self._refuse((name, "accurate"), tag.partition(":")[2], error)
                else:
                    if tag in self._absent:
                        self._absent.remove(tag)
                        self._forget((name, "accurate"), tag.partition(":")[2])
        return sorted(found.values(), key=lambda versions: versions[0].card.variant_of is not None)

    def _take(self, key: Key, stored: StoredModel) -> None:
        try:
            served = self._load(stored)
        except CatseyeError as error:
            self._refuse(key, stored.version, error)
            return
        except Exception as error:  # a broken file can make a runtime raise anything
            logger.exception("model %s cannot be loaded", stored.tag)
            self._refuse(key, stored.version, error)
            return
        served.open()
        LOAD_BROKEN.labels(key[0]).set(0)
        slot = self._slots.get(key)
        leaves = None
        if slot is None:
            slot = Slot(served)
        else:
            slot, leaves = slot.taking(served, self._canary.get(key[0], 0.0) > 0 and key[1] == "accurate")
        self._slots = {**self._slots, key: slot}
        self.changes += 1
        logger.info("serving %s (%s)", stored.tag, key[1])
        if leaves is not None:
            leaves.let_go()

    def _staying(self, key: Key, gone: Collection[Served]) -> set[str]:
        """Versions that are loaded and were not deleted."""
        slot = self._slots.get(key)
        return {served.version for served in slot.versions() if served not in gone} if slot else set()

    def _let_go(self, gone: Collection[Served]) -> None:
        """Serve these versions no more."""
        if not gone:
            return
        slots = {key: slot.without(gone) for key, slot in self._slots.items()}
        self._slots = {key: slot for key, slot in slots.items() if slot is not None}
        for served in gone:
            served.let_go()
            self.changes += 1
            logger.info("model %s was deleted from the store and is served no more", served.stored.tag)

    def _refuse(self, key: Key, version: str, error: Exception) -> None:
        reason = error.detail if isinstance(error, CatseyeError) else f"It cannot be loaded ({type(error).__name__})."
        refused = self._refused.setdefault(key, {})
        if version not in refused:
            refused[version] = reason
            LOAD_FAILURES.labels(key[0]).inc()
            LOAD_BROKEN.labels(key[0]).set(1)
            logger.error("model %s:%s is refused: %s", key[0], version, reason)

    def _forget_refusals(self, wanted: list[list[StoredModel]]) -> None:
        """Say no more of broken versions that were deleted."""
        there = {(_key_of(stored), stored.version) for versions in wanted for stored in versions}
        absent = {tag.partition(":")[2] for tag in self._absent}
        for key, versions in list(self._refused.items()):
            for version in set(versions) - absent:
                if wanted and (key, version) not in there:
                    self._forget(key, version)

    def _forget(self, key: Key, version: str) -> None:
        self._refused[key] = {known: why for known, why in self._refused[key].items() if known != version}
        if not self._refused[key]:
            LOAD_BROKEN.labels(key[0]).set(0)

    def _unknown(self, name: str, variant: str) -> UnknownModel:
        if (name, "accurate") in self._slots and variant == "fast":
            return no_fast_variant(name)
        served = ", ".join(self.names()) or "none"
        return UnknownModel(f"Model {name[:80]!r} is not served. Served are: {served}.")


def _key_of(stored: StoredModel) -> Key:
    return (stored.card.variant_of or stored.name, "fast" if stored.card.variant_of else "accurate")


def no_fast_variant(name: str) -> UnknownModel:
    """What to say where the fast variant of a model is asked for and there is none."""
    return UnknownModel(
        f"Model {name} has no fast variant. Train one with `catseye train DIR --name {name}-fast --variant-of {name}`."
    )


def share_of(request_id: str) -> float:
    """A number in [0, 100) that is always the same for the same request id."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:4], "big") * 100 / 2**32


def describe(registry: Registry, name: str) -> dict[str, Any]:
    """What ``/v1/models/{name}`` says; ``UnknownModel`` where it is not served."""
    slots = registry.slots(name)
    if not slots:
        registry.find(name)
    main = (slots.get("accurate") or slots["fast"]).current
    return {
        "name": name,
        "default": name == registry.default_name(),
        "labels": list(main.card.labels),
        "taps": [tap.model_dump(mode="json") for tap in main.card.taps],
        "variants": {
            variant: {
                **slot.current.describe(),
                "loaded_versions": [served.version for served in slot.versions()],
                "canary": slot.canary.version if slot.canary else None,
            }
            for variant, slot in slots.items()
        },
        "refused": registry.refused().get(name, {}),
    }
