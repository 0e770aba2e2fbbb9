"""Adapters to the outside: settings, IO manager, run tracking, jobs."""
