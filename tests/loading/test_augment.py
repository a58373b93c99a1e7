import numpy as np
import pytest
import torch

from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.loading.augment import Augment, mirrored_classes

CLASSES = [14, 76, 78, 91, 225]  # 76 and 78 are each other's mirror image; 91's partner, 95, is missing


def augment(rotate="none", mirror=False, zoom=0.0, noise=0.0, erase=0.0, erase_area=0.2, seed=7, **options):
    options = {"classes": CLASSES} | options
    return Augment(rotate, mirror, zoom, noise, erase, erase_area, seed=seed, **options)


def batch_of(n=64, pixels=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(n, 3, pixels, pixels, generator=generator)
    return patterns, torch.arange(n) % len(CLASSES), torch.arange(n) * 3


EVERYTHING = {
    "rotate": "quarter",
    "mirror": True,
    "zoom": 0.1,
    "noise": 0.1,
    "erase": 0.5,
    "shift": 0.1,
    "shuffle": True,
}


@pytest.mark.parametrize("options", [EVERYTHING, EVERYTHING | {"rotate": "free"}], ids=["quarter", "free"])
def test_a_draw_is_augmented_alike_in_any_batch(options):
    patterns, labels, draws = batch_of()
    whole, whole_labels = augment(**options)(patterns, labels, draws, 2)
    picked = torch.tensor([40, 3, 11])
    part, part_labels = augment(**options)(patterns[picked], labels[picked], draws[picked], 2)
    torch.testing.assert_close(part, whole[picked])
    assert torch.equal(part_labels, whole_labels[picked])


def test_epoch_and_seed_change_what_happens():
    patterns, labels, draws = batch_of()
    first, _ = augment(**EVERYTHING)(patterns, labels, draws, 0)
    assert not torch.equal(first, augment(**EVERYTHING)(patterns, labels, draws, 1)[0])
    assert not torch.equal(first, augment(**EVERYTHING, seed=8)(patterns, labels, draws, 0)[0])


def test_patterns_are_rotated_by_quarters_each_by_itself():
    patterns, labels, draws = batch_of(400)
    rotated, _ = augment(rotate="quarter")(patterns, labels, draws, 0)
    turns = torch.stack([torch.rot90(patterns, k, (-2, -1)) for k in range(4)])
    found = (turns == rotated).flatten(-2).all(-1)
    assert (found.sum(0) == 1).all()
    k = found.int().argmax(0)
    assert torch.bincount(k.flatten(), minlength=4).min() > 250, "all four turns are about as frequent"
    assert (k[:, 0] != k[:, 1]).float().mean() > 0.6, "turns within a stack are independent"


def test_a_mirrored_stack_is_mirrored_whole_before_it_is_rotated():
    patterns, labels, draws = batch_of(200)
    out, _ = augment(rotate="quarter", mirror=True)(patterns, labels, draws, 0)
    turns = torch.stack([torch.rot90(x, k, (-2, -1)) for x in (patterns, patterns.flip(-1)) for k in range(4)])
    found = (turns == out).flatten(-2).all(-1)
    assert (found.sum(0) == 1).all()
    mirrored = found.int().argmax(0) >= 4
    assert (mirrored == mirrored[:, :1]).all()
    assert 0.2 < mirrored[:, 0].float().mean() < 0.6


def test_a_mirror_swaps_the_label_in_enantiomorphic_groups_only():
    patterns, labels, draws = batch_of(500)
    out, new_labels = augment(mirror=True)(patterns, labels, draws, 0)
    mirrored = (out == patterns.flip(-1)).flatten(1).all(1)
    assert 0.3 < mirrored[labels != 3].float().mean() < 0.7
    assert not mirrored[labels == 3].any(), "91 is left alone: its partner is not among the classes"
    swapped = torch.tensor([0, 2, 1, 3, 4])
    assert torch.equal(new_labels, torch.where(mirrored, swapped[labels], labels))


def test_mirroring_twice_is_the_same_class_for_all_230_groups():
    partner = mirrored_classes([group.number for group in SPACE_GROUPS])
    assert torch.equal(partner[partner], torch.arange(230))
    assert int((partner != torch.arange(230)).sum()) == 22


def test_free_rotation_by_its_angle_keeps_a_ring_and_moves_a_spot():
    y, x = np.mgrid[:33, :33] - 16.0
    ring = torch.from_numpy(np.exp(-((np.hypot(y, x) - 8) ** 2) / 8).astype(np.float32))
    spot = torch.from_numpy(np.exp(-((y - 8) ** 2 + x**2) / 8).astype(np.float32))
    patterns = torch.stack([ring, spot, spot]).repeat(32, 1, 1, 1)
    out, _ = augment(rotate="free")(patterns, torch.zeros(32, dtype=torch.int64), torch.arange(32), 0)
    assert (out[:, 0] - ring).abs().max() < 0.05
    peaks = out[:, 1].flatten(1).argmax(1)
    radius = torch.hypot(peaks // 33 - 16.0, peaks % 33 - 16.0)
    assert ((radius - 8).abs() < 1.5).all() and len(peaks.unique()) > 10


def test_noise_is_normal_with_the_asked_width_and_differs_between_draws():
    patterns = torch.zeros(50, 3, 16, 16)
    out, _ = augment(noise=0.3)(patterns, torch.zeros(50, dtype=torch.int64), torch.arange(50), 0)
    assert abs(float(out.std()) - 0.3) < 0.01 and abs(float(out.mean())) < 0.01
    assert float(torch.corrcoef(out.flatten(1)).fill_diagonal_(0).abs().max()) < 0.2


def test_erasing_hits_the_asked_share_and_stays_below_its_area():
    patterns = torch.ones(300, 3, 20, 20)
    out, _ = augment(erase=0.5, erase_area=0.3)(patterns, torch.zeros(300, dtype=torch.int64), torch.arange(300), 0)
    erased = (out == 0).float().mean((-2, -1))
    assert 0.35 < float((erased > 0).float().mean()) < 0.55
    assert float(erased.max()) < 0.35


def test_nothing_asked_changes_nothing():
    patterns, labels, draws = batch_of()
    assert augment()(patterns, labels, draws, 0)[0] is patterns


def test_zoom_scales_the_three_patterns_of_a_stack_alike_and_by_no_more_than_asked():
    n, pixels = 200, 41
    y, x = torch.meshgrid(torch.arange(pixels) - pixels // 2, torch.arange(pixels) - pixels // 2, indexing="ij")
    blob = torch.exp(-(x**2 + y**2) / (2 * 5.0**2))
    patterns = blob.expand(n, 3, pixels, pixels).contiguous()
    out, _ = augment(zoom=0.2)(patterns, torch.zeros(n, dtype=torch.int64), torch.arange(n), 0)
    size = (out.sum((-2, -1)) / blob.sum()).sqrt()  # the area of a blob grows with the square of its scale
    torch.testing.assert_close(size, size[:, :1].expand_as(size))
    assert 0.78 < size.min() < 0.85 and 1.18 < size.max() < 1.28
    assert abs(float(size.log().mean())) < 0.03


def test_each_pattern_is_shifted_by_itself_in_both_directions_and_by_no_more_than_asked():
    n, pixels = 300, 41
    y, x = torch.meshgrid(torch.arange(pixels) - pixels // 2, torch.arange(pixels) - pixels // 2, indexing="ij")
    blob = torch.exp(-(x**2 + y**2) / (2 * 2.0**2))
    patterns = blob.expand(n, 3, pixels, pixels).contiguous()
    out, _ = augment(shift=0.2)(patterns, torch.zeros(n, dtype=torch.int64), torch.arange(n), 0)
    total = out.sum((-2, -1))
    moved = torch.stack([(out * axis).sum((-2, -1)) / total for axis in (y, x)], -1)  # pixels
    assert 0.9 * 0.2 * pixels < float(moved.abs().max()) <= 0.2 * pixels + 0.05
    assert float(moved.mean().abs()) < 0.5
    correlation = torch.corrcoef(moved.reshape(n, 6).T).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 0.2, "patterns and directions are independent"


def test_the_patterns_of_a_stack_come_in_every_order_alike_often():
    patterns = torch.arange(3.0)[None, :, None, None].expand(1200, 3, 4, 4).contiguous()
    out, _ = augment(shuffle=True)(patterns, torch.zeros(1200, dtype=torch.int64), torch.arange(1200), 0)
    orders, counts = out[:, :, 0, 0].unique(dim=0, return_counts=True)
    assert len(orders) == 6 and counts.min() > 150
    assert torch.equal(out.sort(1).values, patterns), "no pattern is lost"


def test_what_was_there_before_is_drawn_as_before_when_more_is_asked():
    patterns, labels, draws = batch_of()
    plain, _ = augment(rotate="quarter", mirror=True)(patterns, labels, draws, 0)
    shuffled, _ = augment(rotate="quarter", mirror=True, shuffle=True)(
        patterns[:, :1].expand_as(patterns), labels, draws, 0
    )
    assert torch.equal(shuffled[:, 0], plain[:, 0])


def test_erased_rectangles_have_the_areas_and_ratios_of_torchvisions():
    # torchvision.transforms.RandomErasing: area in (0.02, 0.33), log-uniform ratio in (0.3, 3.3); 3.3 is nearly 1 / 0.3
    patterns, labels, draws = torch.ones(400, 3, 64, 64), torch.zeros(400, dtype=torch.int64), torch.arange(400)
    options = {"erase": 0.8, "erase_area": 0.33, "erase_least": 0.02, "erase_ratio": 3.3}
    erased = augment(**options)(patterns, labels, draws, 0)[0].flatten(0, 1) == 0
    hit = erased.flatten(1).any(1)
    assert hit.float().mean().item() == pytest.approx(0.8, abs=0.03)
    tall, wide = erased[hit].any(2).sum(1).float(), erased[hit].any(1).sum(1).float()
    assert torch.equal(tall * wide, erased[hit].flatten(1).sum(1).float()), "they are rectangles"
    area, ratio = tall * wide / 64**2, tall / wide
    assert area.mean().item() == pytest.approx(0.175, abs=0.01) and 0.015 < area.min() and area.max() < 0.34
    assert ratio.log().mean().abs() < 0.06 and ratio.min() > 0.25 and ratio.max() < 4


def test_one_pattern_of_a_stack_is_drawn_evenly_and_anew_each_epoch():
    _, _, draws = batch_of(600)
    one = augment(show="one")
    stacks, first = one.shown(600, 3, draws, 0)
    _, later = one.shown(600, 3, draws, 1)
    assert torch.equal(stacks, torch.arange(600)) and (first != later).float().mean() > 0.5
    assert torch.bincount(first).min() > 160 and set(first.tolist()) == {0, 1, 2}
    picked = torch.tensor([5, 400, 17])
    assert torch.equal(one.shown(3, 3, draws[picked], 0)[1], first[picked]), "a draw's own number decides"


def test_each_pattern_is_shown_by_itself_once():
    stacks, which = augment(show="each").shown(2, 3, torch.arange(2), 0)
    assert list(zip(stacks.tolist(), which.tolist(), strict=True)) == [(b, c) for b in range(2) for c in range(3)]
    assert augment().shown(2, 3, torch.arange(2), 0) is None
