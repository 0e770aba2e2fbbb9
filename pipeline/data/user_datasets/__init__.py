"""Data sets of the user: each described in a YAML file, turned into a row like the built-in ones."""
