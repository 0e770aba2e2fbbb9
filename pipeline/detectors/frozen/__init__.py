"""A detector for images that nobody has labelled: the trained method with everything that turns a residual into a
score, frozen in one folder that stands on nothing else."""
