"""A sampler, a model and a dataset that join sgexp from outside."""
