"""A small HTTP service that shows which ECS task, host and zone answered."""
