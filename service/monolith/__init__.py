"""The services web and quotes as one process, for comparison."""
