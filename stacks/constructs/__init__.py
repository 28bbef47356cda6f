"""The nouns inside the stacks."""
