"""From image bytes to answers: queue, batching, models, plans. Knows no HTTP."""
