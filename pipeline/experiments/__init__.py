"""Which runs exist: frozen data, no logic."""
