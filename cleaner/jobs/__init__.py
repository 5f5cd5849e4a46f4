"""Background jobs: workers on this machine, on a Slurm cluster, and sweeps."""
