"""Training and evaluation on MONAI's engines: the step, the handlers, checkpoints, learning-rate schedules."""
