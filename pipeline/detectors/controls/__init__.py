"""Simple controls that every learned method is compared with; they are scored in the same way."""
