"""The course: what to do with an environment, and who says whether it was done."""
