"""Jobs that make run folders as trainings do, in no time, with figures that follow from their config."""
