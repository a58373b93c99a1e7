"""What a camera does to patterns, against Poisson's and Gauss's laws and plain geometry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from sgexp.data.transforms import Transform
from sgexp.simulation.detector import Camera, Detector, Ideal, blurred, move, stopped, with_background

SIZE = 64
CAMERA = {
    "dose": [1e5, 1e7],
    "background": [0.0, 0.3],
    "background_width": [0.05, 0.3],
    "blur": [0.3, 1.0],
    "saturation": [1e3, 1e5],
    "beam_stop": 0.3,
    "beam_stop_width": [0.03, 0.1],
    "miscentring": 0.03,
    "ellipticity": 0.03,
}


def nothing(count=1, **settings):
    """Return a detector that only counts, with what a test wants of it."""
    values = {name: torch.zeros(count) for name in Detector.__dataclass_fields__}
    values |= {"shift": torch.zeros(count, 2), "background_width": torch.ones(count)}
    values |= {"dose": torch.full((count,), 1e6), "saturation": torch.full((count,), torch.inf)}
    return replace(Detector(**values), **{name: torch.as_tensor(value) for name, value in settings.items()})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def disk(radius, size=SIZE, middle=(0.0, 0.0)):
    """Return a disk's area in each pixel, (1, size, size), by counting points."""
    places = (np.arange(size * 8) + 0.5) / 8 - size / 2
    inside = np.hypot(places - middle[0], (places - middle[1])[:, None]) < radius
    return torch.from_numpy(inside.reshape(size, 8, size, 8).mean(axis=(1, 3), dtype=np.float32))[None]


def pattern(count=1):
    """Return patterns that add up to 1, disks of different strength."""
    image = disk(5.0) + 0.1 * disk(5.0, middle=(16.0, 3.0)) + 0.01 * disk(5.0, middle=(-9.0, -14.0))
    return (image / image.sum()).repeat(count, 1, 1)


def test_counts_are_poissons_at_the_dose():
    doses = torch.tensor([1e3, 1e5, 1e7]).repeat_interleave(400)
    counts = nothing(1200, dose=doses).counts(pattern(1200), generator()).double()
    assert torch.equal(counts, counts.round())
    for number, dose in enumerate((1e3, 1e5, 1e7)):
        some, mean = counts[400 * number : 400 * (number + 1)], pattern()[0].double() * dose
        # The sum of 400 counts of a pixel is Poisson too; over all pixels the deviations are a chi-squared.
        lit = mean > 0
        assert not some[:, ~lit].any()
        deviations = (some.sum(dim=0) - 400 * mean)[lit] ** 2 / (400 * mean[lit])
        busy = 400 * mean[lit] > 20
        assert stats.chi2.sf(deviations[busy].sum(), int(busy.sum())) > 1e-4
        variance = (some.var(dim=0) / mean)[mean > 5]  # 1 for Poisson's law
        if len(variance):
            assert float(variance.mean()) == pytest.approx(1.0, abs=4 * (2 / 400 / len(variance)) ** 0.5)


def test_the_same_generator_gives_the_same_counts_and_another_others():
    stored, settings = Camera(**CAMERA).record(pattern(3).numpy(), seed=1)
    again, same = Camera(**CAMERA).record(pattern(3).numpy(), seed=1)
    other, _ = Camera(**CAMERA).record(pattern(3).numpy(), seed=2)
    assert np.array_equal(stored, again) and not np.array_equal(stored, other)
    assert all(np.array_equal(settings[name], same[name]) for name in settings)
    counts = stored * settings["dose"][:, None, None]
    assert counts == pytest.approx(np.round(counts), abs=0.02)


def test_a_batch_is_its_patterns_with_their_settings_one_by_one():
    drawn = Camera(**CAMERA).draw(5, SIZE, generator())
    images = pattern(5) * torch.rand(5, SIZE, SIZE, generator=generator(1))
    together = drawn.expected(images)
    for one in range(5):
        alone = Detector(*(getattr(drawn, name)[one : one + 1] for name in Detector.__dataclass_fields__))
        assert torch.allclose(alone.expected(images[one : one + 1])[0], together[one], atol=1e-8)


def test_an_ideal_detector_leaves_patterns_alone():
    images = pattern(2)
    assert torch.equal(nothing(2).expected(images), images)
    stored, settings = Ideal().record(images.numpy(), seed=1)
    assert stored is not None and np.array_equal(stored, images.numpy()) and settings == {}


@pytest.mark.parametrize("blur", [0.3, 0.7, 2.0])
def test_blur_conserves_every_images_intensity_up_to_its_edges(blur):
    images = torch.rand(4, SIZE, 48, generator=generator())
    spread = blurred(images, torch.full((4,), blur))
    assert spread.sum(dim=(1, 2)) == pytest.approx(images.sum(dim=(1, 2)), rel=1e-5)
    assert spread.min() >= 0


def test_blur_is_a_gaussian_and_has_its_mtf():
    point = torch.zeros(2, SIZE, SIZE)
    point[:, 32, 32] = 1.0
    narrow, wide = blurred(point, torch.tensor([0.0, 1.5])).numpy()
    assert np.array_equal(narrow, point[0].numpy())
    assert wide == pytest.approx(
        ndimage.gaussian_filter(point[1].numpy(), 1.5, truncate=8), abs=4e-3
    )  # theirs is sampled
    frequency = np.fft.rfftfreq(SIZE)
    pixel = np.sinc(frequency)  # the light that falls into a pixel is summed there
    mtf = np.abs(np.fft.rfft(wide.sum(axis=0)))
    assert mtf == pytest.approx(np.exp(-2 * np.pi**2 * 1.5**2 * frequency**2) * pixel, abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5])
def test_ellipticity_keeps_the_area_and_turns_circles_into_ellipses_of_that_ratio(angle):
    image = disk(15.0)
    moved = move(image, torch.zeros(1, 2), torch.tensor([0.2]), torch.tensor([angle]))
    assert float(moved.sum()) == pytest.approx(float(image.sum()), rel=3e-3)
    places = np.arange(SIZE) - (SIZE - 1) / 2
    x, y = np.meshgrid(places, places)
    weight = moved[0].numpy() / float(moved.sum())
    moments = np.array(
        [[(weight * x * x).sum(), (weight * x * y).sum()], [(weight * x * y).sum(), (weight * y**2).sum()]]
    )
    values, vectors = np.linalg.eigh(moments)
    assert np.sqrt(values[1] / values[0]) == pytest.approx(1.2, abs=0.01)
    assert abs(vectors[:, 1] @ [np.cos(angle), np.sin(angle)]) == pytest.approx(1.0, abs=1e-3)


def test_miscentring_moves_the_direct_beam_right_and_down():
    moved = move(disk(5.0), torch.tensor([[3.0, -2.5]]), torch.zeros(1), torch.zeros(1))
    row, column = ndimage.center_of_mass(moved[0].numpy())
    assert (column - 31.5, row - 31.5) == pytest.approx((3.0, -2.5), abs=1e-3)
    whole = move(disk(5.0), torch.tensor([[3.0, -2.0]]), torch.zeros(1), torch.zeros(1))
    assert torch.allclose(whole, disk(5.0, middle=(3.0, -2.0)), atol=1e-5)


def test_background_takes_its_share_of_the_electrons_and_falls_from_the_direct_beam():
    images = pattern()
    seen = with_background(images, torch.tensor([0.25]), torch.tensor([8.0]), torch.tensor([[4.0, 0.0]]))
    assert float(seen.sum()) == pytest.approx(1.0, rel=1e-5)
    added = (seen - 0.75 * images)[0]
    assert float(added.sum()) == pytest.approx(0.25, rel=1e-4)
    row, column = np.unravel_index(int(added.argmax()), added.shape)
    assert abs(column - 35.5) <= 0.5 and abs(row - 31.5) <= 0.5
    assert added.min() > 0


def test_saturation_clips_counts_and_nothing_else():
    free = nothing(1, dose=[1e5]).counts(pattern(), generator())
    clipped = nothing(1, dose=[1e5], saturation=[300.0]).counts(pattern(), generator())
    assert free.max() > 300
    assert torch.equal(clipped, free.clamp(max=300.0))


@pytest.mark.parametrize(("angle", "behind"), [(0.0, (32, 60)), (np.pi / 2, (60, 32)), (np.pi, (32, 3))])
def test_the_beam_stop_covers_the_direct_beam_from_one_side(angle, behind):
    images = torch.ones(1, SIZE, SIZE)
    seen = stopped(images, torch.tensor([4.0]), torch.tensor([angle]), torch.zeros(1, 2))
    assert seen[0, 32, 32] == 0 and seen[(0, *behind)] == 0
    assert seen[(0, *(63 - place for place in behind))] == 1
    covered = float((1 - seen).sum())
    assert covered == pytest.approx(np.pi * 16 / 2 + 8 * 32, rel=0.03)
    assert torch.equal(stopped(images, torch.zeros(1), torch.tensor([angle]), torch.zeros(1, 2)), images)


def test_saturation_comes_before_the_beam_stop_and_the_background_is_counted():
    drawn = nothing(1, dose=[1e4], saturation=[5.0], beam_stop=[6.0], background=[0.5], background_width=[20.0])
    counts = drawn.counts(pattern(), generator())
    assert counts.max() == 5 and counts[0, 32, 32] == 0
    assert counts[0, 50, 20] >= 0 and counts[0, 40:].sum() > 0  # where the pattern itself is dark


def test_settings_lie_in_their_ranges_and_one_range_leaves_the_others():
    drawn = Camera(**CAMERA).draw(2000, SIZE, generator())
    assert 1e5 <= drawn.dose.min() < 1.1e5 and 0.9e7 < drawn.dose.max() <= 1e7
    assert float(drawn.dose.log10().mean()) == pytest.approx(6.0, abs=0.05)
    assert drawn.shift.norm(dim=1).max() <= 0.03 * SIZE
    assert float((drawn.beam_stop > 0).float().mean()) == pytest.approx(0.3, abs=0.05)
    other = Camera(**(CAMERA | {"dose": [1.0, 2.0], "saturation": None})).draw(2000, SIZE, generator())
    assert other.saturation.isinf().all() and other.dose.max() <= 2
    for name in set(Detector.__dataclass_fields__) - {"dose", "saturation"}:
        assert torch.equal(getattr(drawn, name), getattr(other, name))


def test_the_logarithm_comes_after_the_counts():
    stored, _ = Camera(**(CAMERA | {"beam_stop": 0.0, "dose": [1e6, 1e6]})).record(pattern(3).numpy(), seed=3)
    coded = Transform("log", 0.25, SIZE, True).encode(torch.from_numpy(stored)[:, None])[:, 0]
    assert np.array_equal(coded == 0, stored == 0)
    lowest = float(coded[coded > 0].min())  # one electron
    assert lowest == pytest.approx((17 - np.log(1e6)) * 10 / 255, abs=1e-4)
