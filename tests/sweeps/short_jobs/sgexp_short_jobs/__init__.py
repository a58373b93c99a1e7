"""Jobs that make run folders as trainings do, in a second: for tests of what goes on around them."""
