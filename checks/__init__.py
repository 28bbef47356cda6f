"""Proofs about synthesized templates: what is deployed is right, whoever wrote it."""
