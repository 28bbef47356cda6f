"""What the benchmarks compare with, in the form in which others would write it."""
