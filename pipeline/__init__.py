"""How it runs, and what each step does."""
