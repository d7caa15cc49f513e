"""Whether a model that is missing from the store was deleted, or the whole store is away.

A mount that is lost leaves an empty folder, which looks like a store without models. So a missing model counts as
deleted only where other models are there, or where the store says that its last one was deleted (``staging``).
"""

from models.store.staging import was_emptied
from models.store.store import StoredModel, list_models, store_home


def was_deleted(model: StoredModel) -> bool:
    """Whether somebody deleted it; False where it is there, or nobody can tell.

    Raises ``StoreError`` where the store cannot be read.
    """
    if not is_missing(model):
        return False
    # By way of the link that a server may have in place of the folder: see ``service.process.launcher.private_home``.
    home = (store_home() / "models").resolve().parent
    return bool(list_models()) or was_emptied(home)


def is_missing(model: StoredModel) -> bool:
    """Whether its folder is not there; False where that cannot be seen."""
    try:
        model.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
