"""The versions of one variant of one model that are loaded."""

from collections.abc import Collection
from dataclasses import dataclass

from service.inference.served_model import ServedModel


@dataclass(frozen=True)
class LoadedVersions:
    """The current version, the one before, and one on trial; replaced as a whole, so that it can be read any time."""

    current: ServedModel
    previous: ServedModel | None = None
    canary: ServedModel | None = None

    def versions(self) -> list[ServedModel]:
        """What is loaded, the newest first."""
        return [served for served in (self.canary, self.current, self.previous) if served is not None]

    def taking(self, new: ServedModel, on_trial: bool) -> tuple["LoadedVersions", ServedModel | None]:
        """The slot with a new version, current or on trial, and the version that leaves."""
        if on_trial:
            return LoadedVersions(self.current, self.previous, new), self.canary
        return LoadedVersions(new, self.current, self.canary), self.previous

    def without(self, gone: Collection[ServedModel]) -> "LoadedVersions | None":
        """The slot without some versions: the one before takes the current one's place, or the one on trial does."""
        previous, canary = (None if served in gone else served for served in (self.previous, self.canary))
        if self.current not in gone:
            return LoadedVersions(self.current, previous, canary)
        if previous is not None:
            return LoadedVersions(previous, None, canary)
        return None if canary is None else LoadedVersions(canary)
