"""Promises, each a test; this tree mirrors the project's."""
