from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sgexp.data.transforms import Transform, resize_area
from sgexp.errors import DataError


def transform(code: str = "log", pixels: int = 16, exponent: float = 0.25, standardise: bool = True) -> Transform:
    return Transform(code, exponent, pixels, standardise)


def intensities(pixels: int = 16) -> torch.Tensor:
    """Twenty powers of ten, with exact zeros."""
    generator = torch.Generator().manual_seed(0)
    values = 10 ** (torch.rand(2, 3, pixels, pixels, generator=generator) * 20 - 17)
    values[torch.rand(values.shape, generator=generator) < 0.4] = 0
    return values


def test_the_log_code_is_stemdls_formula_over_255() -> None:
    values = intensities()
    with np.errstate(divide="ignore"):
        expected = np.clip(10 * (np.maximum(-17, np.log(values.numpy().astype(np.float64))) + 17), 0, 255) / 255
    np.testing.assert_allclose(transform().encode(values).numpy(), expected, atol=2e-6)
    assert transform().encode(torch.tensor([0.0, -1.0]).repeat(1, 3, 16, 8)).abs().max() == 0


def test_power_and_plain_codes_are_relative_to_the_strongest_pixel() -> None:
    values = intensities()
    relative = values / values.amax(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(transform("power", exponent=0.5).encode(values), relative.sqrt())
    torch.testing.assert_close(transform("none").encode(values), relative)
    assert transform("power").encode(torch.zeros(1, 3, 16, 16)).abs().max() == 0


@pytest.mark.parametrize("code", ["log", "power", "none"])
def test_every_code_is_in_the_unit_interval_and_survives_half_precision(code: str) -> None:
    coded = transform(code).encode(intensities())
    assert coded.min() >= 0
    assert coded.max() <= 1
    assert (coded.half().float() - coded).abs().max() < 3e-4


def test_the_code_comes_before_the_resize() -> None:
    values = intensities(32)
    expected = functional.avg_pool2d(transform(pixels=32).encode(values), 2)
    torch.testing.assert_close(transform(pixels=16).encode(values), expected)


@pytest.mark.parametrize(("size", "pixels"), [(12, 8), (15, 4), (20, 7), (9, 9), (32, 8), (7, 1)])
def test_the_resize_averages_areas_exactly(size: int, pixels: int) -> None:
    image = torch.rand(2, 3, size, size, dtype=torch.float64)
    blown_up = torch.kron(image, torch.ones(1, 1, pixels, pixels, dtype=torch.float64))
    expected = functional.avg_pool2d(blown_up, size)
    resized = resize_area(image, pixels)
    torch.testing.assert_close(resized, expected)
    torch.testing.assert_close(resized.mean(), image.mean())


def test_enlarging_is_refused_with_what_to_set() -> None:
    with pytest.raises(DataError, match=r"size\.train_pixels"):
        transform(pixels=32).encode(torch.ones(1, 3, 16, 16))


def test_standardised_patterns_have_mean_zero_and_deviation_one_each() -> None:
    coded = transform().encode(intensities())
    ready = transform().standardise(coded.half())
    assert ready.dtype == torch.float32
    torch.testing.assert_close(ready.mean(dim=(2, 3)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(ready.std(dim=(2, 3), correction=0), torch.ones(2, 3), atol=1e-4, rtol=0)
    assert transform().standardise(torch.full((1, 3, 4, 4), 0.5)).abs().max() == 0
    torch.testing.assert_close(transform(standardise=False).standardise(coded), coded)


def test_a_batch_of_no_pattern_is_standardised_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """What a device is given when there are more devices than samples to judge."""
    ready = transform().standardise(torch.empty(0, 3, 16, 16, dtype=torch.float16))
    assert ready.shape == (0, 3, 16, 16) and ready.dtype == torch.float32
    assert [str(warning.message) for warning in recwarn] == []


def test_the_digest_names_what_the_packed_values_depend_on() -> None:
    same = {transform().digest(), transform(exponent=0.5).digest(), transform(standardise=False).digest()}
    other = {transform(pixels=8).digest(), transform("power").digest(), transform("power", exponent=0.5).digest()}
    assert len(same) == 1
    assert len(same | other) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_gives_what_the_cpu_gives() -> None:
    values = intensities(24)
    for code in ("log", "power", "none"):
        here = transform(code, pixels=10)
        there = here.standardise(here.encode(values.cuda())).cpu()
        torch.testing.assert_close(there, here.standardise(here.encode(values)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("code", "exponent"), [("log", 1.0), ("power", 0.25), ("none", 1.0)])
def test_mixing_in_intensity_is_coding_the_mixed_intensities(code, exponent):
    transform = Transform(code, exponent, 16, True)
    rng = np.random.default_rng(0)
    a, b = (10.0 ** rng.uniform(-6, 0, (2, 3, 16, 16)).astype(np.float32) for _ in range(2))
    a[..., 0, 0] = b[..., 0, 0] = 1.0  # the brightest pixel, which 'power' and 'none' measure by
    weight = np.array([0.0, 0.3], np.float32)
    codes = [transform.encode(torch.from_numpy(x)).numpy() for x in (a, b)]
    w = weight[:, None, None, None]
    mixed = transform.encode(torch.from_numpy(a + w * (b - a))).numpy()
    np.testing.assert_allclose(transform.blend("intensity", *codes, weight), mixed, atol=2e-5)
    geometric = transform.encode(torch.from_numpy(a ** (1 - w) * b**w)).numpy()
    np.testing.assert_allclose(transform.blend("log", *codes, weight), geometric, atol=2e-5)
    np.testing.assert_allclose(
        transform.blend("coded", *codes, weight), codes[0] + w * (codes[1] - codes[0]), atol=1e-6
    )


def test_what_the_log_code_cannot_tell_from_zero_is_zero_when_intensities_are_mixed():
    transform = Transform("log", 1.0, 2, True)
    dark, bright = np.zeros((1, 1, 2, 2), np.float32), np.full((1, 1, 2, 2), 1e-3, np.float32)
    codes = [transform.encode(torch.from_numpy(x)).numpy() for x in (dark, bright)]
    half = transform.blend("intensity", *codes, np.array([0.5], np.float32))
    np.testing.assert_allclose(half, transform.encode(torch.full((1, 1, 2, 2), 5e-4)).numpy(), atol=1e-6)
