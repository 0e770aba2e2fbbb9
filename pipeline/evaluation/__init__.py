"""Test images through detectors: records with intervals, controls, pasted lesions, label audit."""
