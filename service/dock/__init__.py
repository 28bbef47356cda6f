"""What every service needs to live in a container: serving, draining, logging, health, identity."""
