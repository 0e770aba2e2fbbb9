"""Data sets of the user's own: described in a YAML file each, made into rows like the built-in ones."""
