"""Tests of the manifests, file for file."""
