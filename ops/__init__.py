"""Upkeep of a deployed environment: thin commands over a library, client in, clock in."""
