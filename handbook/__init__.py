"""The documents as a site, and the diagrams in them, drawn from synthesized templates."""
