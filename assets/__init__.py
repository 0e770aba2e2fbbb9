"""What exists: thin declarations of assets."""
