"""A small HTTP service with one job: it gives a quote about ships and docks."""
