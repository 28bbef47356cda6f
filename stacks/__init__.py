"""What is deployed: one module a stack, one stack a lifecycle."""
