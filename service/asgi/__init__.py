"""ASGI middleware and protocol: limits, errors, deadlines, slow clients."""
