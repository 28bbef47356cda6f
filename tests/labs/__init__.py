"""Tests of the course, file for file."""
