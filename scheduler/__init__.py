"""How ECS on EC2 behaves, as functions of what is declared, what is observed, and the time."""
