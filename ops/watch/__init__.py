"""The living picture of an environment: reads it again and again, and serves it as a page."""
