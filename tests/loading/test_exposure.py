"""What a camera counts of a training pattern: counts that are Poisson's, in the pattern's own unit, coded again."""

import numpy as np
import pytest
import torch
from scipy import stats

from sgexp.data.transforms import Transform
from sgexp.loading.augment import Augment
from sgexp.loading.exposure import Exposure

LOG = Transform("log", 0.25, 16, True)


def patterns_of(n=4, pixels=16, seed=0):
    """Intensities over five powers of ten, a fraction of the beam each."""
    generator = torch.Generator().manual_seed(seed)
    intensity = 10 ** (-7 + 5 * torch.rand(n, 3, pixels, pixels, generator=generator))
    return intensity / intensity.sum((-2, -1), keepdim=True) * 0.4


@pytest.mark.parametrize("code", ["log", "power", "none"])
def test_the_code_is_undone_and_done_again(code):
    transform = Transform(code, 0.25, 16, True)
    intensity = patterns_of()
    coded = transform.encode(intensity)
    back = transform.intensity(coded)
    unit = 1.0 if code == "log" else intensity.amax((-2, -1), keepdim=True)
    torch.testing.assert_close(back * unit, intensity, rtol=2e-4, atol=1e-9)
    torch.testing.assert_close(transform.coded(back), coded, atol=1e-6, rtol=0)
    dark = torch.zeros(1, 3, 4, 4)
    assert torch.equal(transform.intensity(transform.coded(dark)), dark)


def test_counts_are_poissons_and_keep_the_patterns_unit():
    dose, n = 2000.0, 400
    intensity = patterns_of(1).expand(n, 3, 16, 16)
    seen = LOG.intensity(Exposure([dose, dose], 0.0, 0.0, code=LOG, seed=3)(LOG.coded(intensity), torch.arange(n), 0))
    unit = 0.4 / dose
    counts = seen / unit
    torch.testing.assert_close(counts, counts.round(), atol=2e-3, rtol=2e-3)
    counts, mean = counts.round(), intensity[0] / unit
    np.testing.assert_allclose(counts.sum((-2, -1)).mean(), dose, rtol=0.01)
    # Pearson's chi-square over the pixels that count enough: mean and variance of a Poisson distribution
    bright = mean > 5
    squares = ((counts - mean) ** 2 / mean)[:, bright].sum().item()
    assert 1e-4 < stats.chi2.sf(squares, n * int(bright.sum())) < 1 - 1e-4
    faint = mean < 0.5
    assert (counts[:, faint] == 0).float().mean().item() == pytest.approx(
        torch.exp(-mean[faint]).mean().item(), abs=0.01
    )


def test_a_draw_is_exposed_alike_in_any_batch_and_anew_each_epoch():
    coded, draws = LOG.coded(patterns_of(6)), torch.arange(6) * 5
    camera = Exposure([1e3, 1e5], 1.0, 0.1, code=LOG, seed=1)
    whole, picked = camera(coded, draws, 2), torch.tensor([4, 0])
    assert torch.equal(camera(coded[picked], draws[picked], 2), whole[picked])
    assert not torch.equal(camera(coded, draws, 3), whole)
    same = coded[:1].expand(6, -1, -1, -1)
    assert not torch.equal(camera(same, draws, 2)[0], camera(same, draws, 2)[1])


def test_blur_and_background_keep_the_sum_and_fill_the_dark():
    intensity = torch.zeros(200, 3, 16, 16)
    intensity[:, :, 8, 8] = 0.3
    seen = LOG.intensity(Exposure(None, 1.5, 0.2, code=LOG, seed=1)(LOG.coded(intensity), torch.arange(200), 0))
    torch.testing.assert_close(seen.sum((-2, -1)), torch.full((200, 3), 0.3), rtol=1e-3, atol=0)
    assert (seen[:, :, 0, 0] > 0).float().mean() > 0.9, "the background reaches the corner"
    spread = seen[:, :, 8, 8] / 0.3
    assert spread.min() < 0.2 and spread.max() > 0.8, "each pattern has a blur of its own"
    only = Exposure(None, 0.0, 0.2, code=LOG, seed=1)(LOG.coded(intensity), torch.arange(200), 0)
    shares = 1 - LOG.intensity(only)[:, :, 8, 8] / 0.3
    assert 0 <= shares.min() and shares.max() < 0.2 and shares.mean().item() == pytest.approx(0.095, abs=0.015)


def test_a_larger_dose_comes_closer_to_what_there_is():
    coded, draws = LOG.coded(patterns_of(8)), torch.arange(8)
    errors = []
    for dose in (1e3, 1e5, 1e7):
        seen = LOG.intensity(Exposure([dose, dose], 0.0, 0.0, code=LOG, seed=1)(coded, draws, 0))
        errors.append((seen - LOG.intensity(coded)).abs().sum().item())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_a_dark_picture_and_no_picture_stay_what_they_are():
    camera = Exposure([10.0, 10.0], 1.0, 0.5, code=LOG, seed=1)
    dark = torch.zeros(2, 3, 8, 8)
    assert torch.equal(camera(dark, torch.arange(2), 0), dark)
    assert camera(dark[:0], torch.arange(0), 0).shape == (0, 3, 8, 8)


def test_augmentation_has_a_camera_only_where_it_is_asked_for():
    def exposure(**knobs):
        return Augment("none", False, 0.0, 0.0, 0.0, 0.2, **knobs, classes=[14], seed=7).exposure(LOG)

    assert exposure() is None and exposure(blur=0.5).seed == 7
    assert exposure(dose=[1e4, 1e6]).dose == [1e4, 1e6] and exposure(background=0.1).background == 0.1
