import torch

from sgexp.loading.counter import draw_keys, mix, uniform


def splitmix64(state, count):
    """The generator as published, in Python's integers."""
    mask, out = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out.append(z ^ (z >> 31))
    return out


def test_numbers_are_those_of_the_published_generator():
    expected = [(z >> 40) * 2.0**-24 for z in splitmix64(1234567, 5)]
    assert uniform(torch.tensor([1234567]), 5)[0].tolist() == expected
    # First output for seed 1234567, as printed in the reference implementation's test vectors.
    assert splitmix64(1234567, 1)[0] == 6457827717110365317
    assert int(mix(torch.zeros(1, dtype=torch.int64))) == 0


def test_numbers_are_uniform_and_neighbouring_draws_unrelated():
    numbers = uniform(draw_keys(1, 0, torch.arange(20_000)), 4)
    assert abs(float(numbers.mean()) - 0.5) < 0.01
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    assert float(torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max()) < 0.03
    assert abs(float(torch.corrcoef(torch.stack([numbers[1:, 0], numbers[:-1, 0]]))[0, 1])) < 0.03
    other = uniform(draw_keys(1, 1, torch.arange(20_000)), 4)
    assert abs(float(torch.corrcoef(torch.stack([numbers[:, 0], other[:, 0]]))[0, 1])) < 0.03
