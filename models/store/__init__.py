"""The model store on disk."""

from models.store.store import StoredModel, delete, get, list_models, save

__all__ = ["StoredModel", "delete", "get", "list_models", "save"]
