"""A Slurm cluster as the place where jobs are run."""
