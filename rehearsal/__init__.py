"""An environment on this machine, with real containers, from the templates that AWS would get."""
