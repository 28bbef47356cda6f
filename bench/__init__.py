"""Side-by-side measurements; each ends with a ratio, and none is a timed test."""
