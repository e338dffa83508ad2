"""The sections of a page, a file per kind of task; each is a function from the models to its sections."""
