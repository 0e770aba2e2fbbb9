"""Decode image files and stacks."""
