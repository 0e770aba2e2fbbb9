"""Pictures of an evaluation: strips of cases, layers of the explorer, a gallery for comparing methods."""
