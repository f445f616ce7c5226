"""Models, attacks, trainers and the job store of the reproducibility suite."""
