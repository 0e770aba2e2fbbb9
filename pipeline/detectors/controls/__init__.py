"""Simple references that stand beside every learned method, scored in the same way."""
