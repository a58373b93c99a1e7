import numpy as np
import pytest
import torch
from scipy import stats

from sgexp.learning.losses import CrossEntropy, LogitAdjusted
from sgexp.loading.batches import PatternDraws
from sgexp.loading.mixing import Mixed, PairedBatches, PairedDraws, cmo, cutmix, mixup, none, remix
from sgexp.loading.samplers import TrainingBatches

COUNTS = [600, 60, 30]


def stacks(n, pixels=16):
    """Each stack a constant of its own, so that a mixture shows what it is made of."""
    return torch.arange(n).float()[:, None, None, None].expand(n, 3, pixels, pixels).contiguous()


def mixed_by(mixing, n=2000, pixels=16, epoch=0, labels=None, offset=0):
    draws = torch.arange(n)
    others = torch.roll(draws, 1)
    labels = draws % 3 if labels is None else labels
    return mixing(stacks(n, pixels), labels, others, draws + offset, epoch), draws.float(), others.float(), labels


def test_mixup_blends_pictures_and_labels_by_a_share_from_its_beta_distribution():
    mixed, own, other, labels = mixed_by(mixup(0.4, class_counts=COUNTS, seed=3))
    expected = mixed.share * own + (1 - mixed.share) * other
    torch.testing.assert_close(mixed.patterns, expected[:, None, None, None].expand_as(mixed.patterns))
    assert torch.equal(mixed.first, labels) and torch.equal(mixed.second, torch.roll(labels, 1))
    assert stats.kstest(mixed.share.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    assert torch.equal(mixed.main, torch.where(mixed.share >= 0.5, mixed.first, mixed.second))


def test_cutmix_pastes_one_rectangle_into_all_patterns_and_shares_labels_by_area():
    mixed, own, other, _ = mixed_by(cutmix(1.0, 1.0, class_counts=COUNTS, seed=3), n=500)
    pasted = mixed.patterns == other[:, None, None, None]
    kept = mixed.patterns == own[:, None, None, None]
    assert (pasted ^ kept).all() and (pasted == pasted[:, :1]).all()
    torch.testing.assert_close(mixed.share, 1 - pasted[:, 0].float().mean((-2, -1)))
    rows, columns = pasted[:, 0].any(2).sum(1), pasted[:, 0].any(1).sum(1)
    assert torch.equal(pasted[:, 0].sum((-2, -1)), rows * columns), "what is pasted is a rectangle"
    assert 0.55 < float(mixed.share.mean()) < 0.8, "half of the area on average, less what the edge cuts off"


def test_only_the_asked_share_of_draws_is_mixed():
    mixed, own, _, _ = mixed_by(cutmix(1.0, 0.3, class_counts=COUNTS, seed=3), pixels=64)
    untouched = (mixed.patterns == own[:, None, None, None]).flatten(1).all(1)
    assert 0.66 < float(untouched.float().mean()) < 0.75 and (mixed.share[untouched] == 1).all()


@pytest.mark.parametrize(
    "make", [lambda s: mixup(0.4, class_counts=COUNTS, seed=s), lambda s: cutmix(1, 1, class_counts=COUNTS, seed=s)]
)
def test_seed_epoch_and_draw_alone_decide_how_much_is_mixed(make):
    mixed, _, _, _ = mixed_by(make(3), n=64)
    picked = torch.tensor([40, 3, 11])
    patterns, labels = stacks(64), torch.arange(64) % 3
    few = torch.cat([picked, (picked - 1) % 64])
    again = make(3)(patterns[few], labels[few], torch.tensor([3, 4, 5]), few, 0)
    assert torch.equal(again.patterns, mixed.patterns[picked]) and torch.equal(again.share, mixed.share[picked])
    assert not torch.equal(mixed_by(make(4), n=64)[0].share, mixed.share)
    assert not torch.equal(mixed_by(make(3), n=64, epoch=1)[0].share, mixed.share)


def test_remix_gives_the_label_to_the_rarer_class_as_published():
    labels = torch.randint(0, 3, (3000,), generator=torch.Generator().manual_seed(0))
    plain, *_ = mixed_by(mixup(1.0, class_counts=COUNTS, seed=3), n=3000, labels=labels)
    mixed, *_ = mixed_by(remix(1.0, 3.0, 0.4, class_counts=COUNTS, seed=3), n=3000, labels=labels)
    torch.testing.assert_close(mixed.patterns, plain.patterns)
    for first, second, share, blended in zip(
        mixed.first.tolist(), mixed.second.tolist(), mixed.share.tolist(), plain.share.tolist(), strict=True
    ):
        ratio, expected = COUNTS[first] / COUNTS[second], blended
        if ratio >= 3 and blended < 0.4:
            expected = 0.0
        elif ratio <= 1 / 3 and 1 - blended < 0.4:
            expected = 1.0
        assert share == expected
    assert {0.0, 1.0} <= set(mixed.share.tolist())


def test_the_loss_of_a_mixture_is_that_of_both_labels_by_their_shares():
    from ..learning.plumbing import make_module

    logits = torch.randn(4, 3)
    first, second, share = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2]), torch.tensor([1.0, 0.3, 0.5, 0.0])
    loss = LogitAdjusted(1.0, 0.0, class_counts=COUNTS)
    module = make_module(loss=loss)
    module._trainer = type("Trainer", (), {"current_epoch": 0, "max_epochs": 1})()
    found = module._loss_of_mixtures(logits, Mixed(logits, first, second, share))
    p = (logits + torch.tensor(COUNTS).float().log()).log_softmax(1)
    expected = -(share * p[range(4), first] + (1 - share) * p[range(4), second]).mean()
    torch.testing.assert_close(found, expected)
    assert CrossEntropy(0.1).each(logits, first).shape == (4,)


def pairs_of(world, power=None, start=0, epoch=2, n_draws=100, classes=None):
    classes = np.zeros(n_draws, np.int64) if classes is None else classes
    ranks = []
    for rank in range(world):
        batches = TrainingBatches(n_draws, 16, 5, rank, world)
        batches = PairedBatches(batches, classes, power)
        batches.set_epoch(epoch)
        batches.start = start
        ranks.append(list(batches))
    return [[pair for part in parts for pair in part] for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("power", [None, 1.0])
def test_partners_are_the_same_on_any_number_of_devices_and_after_a_resume(power):
    whole = pairs_of(1, power)
    assert len(whole) == 6 and pairs_of(2, power) == pairs_of(4, power) == whole
    assert pairs_of(1, power, start=4) == whole[4:]
    assert pairs_of(1, power, epoch=3) != whole
    plain = TrainingBatches(100, 16, 5)
    plain.set_epoch(2)
    assert [[draw for draw, _ in batch] for batch in whole] == list(plain), "mixing leaves the order alone"


def test_each_draw_of_a_batch_is_the_partner_of_one():
    for batch in pairs_of(2):
        own, partners = zip(*batch, strict=True)
        assert sorted(own) == sorted(partners) and own != partners


@pytest.mark.parametrize(("power", "shares"), [(0.0, [0.8, 0.15, 0.05]), (1.0, [1 / 3] * 3)])
def test_rare_partners_are_drawn_by_the_asked_power_of_their_frequency(power, shares):
    classes = np.repeat([0, 1, 2], [1600, 300, 100])
    drawn = np.zeros(3)
    for epoch in range(5):
        for batch in pairs_of(1, power, epoch=epoch, n_draws=2000, classes=classes):
            drawn += np.bincount(classes[[partner for _, partner in batch]], minlength=3)
    np.testing.assert_allclose(drawn / drawn.sum(), shares, atol=0.02)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_rare_partners_of_a_recipe_follow_how_often_its_candidates_are_drawn(power):
    """A class is the foreground in proportion to n n^-power, with the n draws that the recipe makes of it an epoch."""
    classes = np.repeat([0, 1, 2], [800, 150, 50])
    rates = np.array([0.5, 1.0, 4.0])[classes]  # 400, 150 and 200 draws
    drawn = np.zeros(3)
    for epoch in range(8):
        batches = PairedBatches(TrainingBatches(1000, 16, 5), classes, power, rates)
        batches.set_epoch(epoch)
        for batch in batches:
            drawn += np.bincount(classes[[partner for _, partner in batch]], minlength=3)
    expected = np.array([400, 150, 200.0]) ** (1 - power)
    np.testing.assert_allclose(drawn / drawn.sum(), expected / expected.sum(), atol=0.02)


def test_rectangles_lie_about_middles_that_are_anywhere_with_the_published_sides():
    """CutMix, sect. 3.1: r_x and r_y uniform over the picture, both sides sqrt(1 - share) of it, cut at its edge."""
    mixed, *_ = mixed_by(cutmix(1.0, 1.0, class_counts=COUNTS, seed=3), n=3000, pixels=64)
    whole, _, _, _ = mixed_by(mixup(1.0, class_counts=COUNTS, seed=3), n=3000, pixels=64)  # the shares before
    pasted = mixed.patterns[:, 0] == torch.roll(torch.arange(3000), 1).float()[:, None, None]
    for axis in (1, 2):
        line = pasted.any(axis)
        first = line.float().argmax(1)
        last = 63 - line.flip(1).float().argmax(1)
        inner = line.any(1) & (first > 0) & (last < 63)
        side = 64 * (1 - whole.share).sqrt()
        assert (line.sum(1)[inner] - side[inner]).abs().max() <= 1
        small = line.any(1) & (side < 8)
        middles = ((first + last + 1) / 128)[small]
        assert small.sum() > 30 and stats.kstest(middles.numpy(), "uniform").pvalue > 0.01


def test_partners_outside_of_the_own_share_are_read_once_and_pointed_to():
    read = []

    class Store:
        def read(self, rows):
            read.append(rows.tolist())
            return stacks(10).numpy()[rows]

    draws = PatternDraws(Store(), np.arange(10) % 3, np.arange(10))
    batch = PairedDraws(draws).__getitems__([(4, 2), (2, 9), (7, 9)])
    assert read == [[4, 2, 7, 9]] and batch["other"].tolist() == [1, 3, 3]
    assert batch["draw"].tolist() == [4, 2, 7, 9] and batch["label"].tolist() == [1, 2, 1, 0]


def test_without_mixing_there_is_nothing():
    assert none(class_counts=COUNTS, seed=1) is None
    assert cmo(1.0, 0.5, 2.0, class_counts=COUNTS, seed=1).rare_power == 2.0
