"""What scores: trained methods, controls, standardisation, the frozen detector."""
