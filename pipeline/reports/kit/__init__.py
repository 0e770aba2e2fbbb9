"""Tables, figures, pictures and verdicts that all reports share."""
