"""What learns: networks, methods, the trainer and scores; torch and numpy only, nothing of the pipeline."""
