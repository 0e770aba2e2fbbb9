"""A trained method, its statistics and its calibration, frozen in one folder to score unlabelled images."""
