"""CBED-230: the frozen list is what the code makes, its parts keep their promises, only its data bear its name."""

import itertools

import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.crystallography.library import load_library
from sgexp.data import cbed230
from sgexp.data.audit import audit
from sgexp.data.cbed230.dataset import CBED230 as Dataset
from sgexp.data.cbed230.freezing import SEED, SHARES, make_list
from sgexp.data.cbed230.split import CBED230, grown_parts
from sgexp.data.sealed import Sealed
from sgexp.data.splits import Materials
from sgexp.errors import DataError
from sgexp.tasks.prepare import simulation_recipe

from .makers import make_catalog

LISTED = cbed230.material_list()
BEGINNINGS = (60, 600, *cbed230.SIZES.values())


def catalog_of(count):
    names = (LISTED.space_group[:count], LISTED.material[:count], LISTED.family[:count])
    return make_catalog(*(column.tolist() for column in names))


def test_the_list_is_the_frozen_one_and_names_every_material_once():
    assert LISTED.digest() == cbed230.frozen()["list"]
    assert len(LISTED) == cbed230.SIZES["L"] == len(set(LISTED.material.tolist()))
    assert cbed230.MaterialList.from_bytes(LISTED.to_bytes()).digest() == LISTED.digest()
    for size in cbed230.SIZES.values():
        training = LISTED.part[:size] == "train"
        assert set(LISTED.space_group[:size][training].tolist()) == set(range(1, 231)), "the class set is fixed"


@pytest.mark.slow
def test_the_crystals_of_s_are_made_today_as_they_were():
    made = cbed230.listed_crystals(cbed230.SIZES["S"])
    assert cbed230.crystals_digest(made) == cbed230.frozen()["crystals"]["S"]


def test_materials_from_all_over_the_list_are_made_as_they_are_listed():
    names = set(LISTED.material[::150].tolist())
    made = cbed230.listed_crystals(len(LISTED), names=names)
    assert {crystal.name for crystal in made} == names
    children = [crystal for crystal in made if crystal.parent != crystal.name]
    library = {crystal.name: crystal for crystal in load_library()}
    assert len(children) > 80
    for child in children:
        parent = library[child.parent]
        assert len(child) == len(parent) and child.family == parent.family
        np.testing.assert_allclose(child.angles, parent.angles)


def test_the_digest_of_crystals_forgives_the_last_bits_and_nothing_else():
    (crystal,) = load_library()[:1]
    nudged = type(crystal)(**{**vars(crystal), "cell": crystal.cell * (1 + 1e-14)})
    moved = type(crystal)(**{**vars(crystal), "cell": crystal.cell * (1 + 1e-5)})
    digests = [cbed230.crystals_digest([one]) for one in (crystal, nudged, moved)]
    assert digests[0] == digests[1] != digests[2]


def test_a_list_that_no_longer_holds_is_refused(monkeypatch):
    wrong = cbed230.MaterialList(**{**vars(LISTED), "space_group": np.where(LISTED.space_group == 230, 229, 230)})
    monkeypatch.setattr(cbed230, "material_list", lambda: wrong)
    with pytest.raises(DataError, match="cannot make CBED-230"):
        cbed230.listed_crystals(1)


@pytest.mark.parametrize("count", BEGINNINGS)
def test_every_beginning_of_the_list_can_be_split_without_a_leak(count):
    catalog, method = catalog_of(count), CBED230(train_share=1.0)
    split, opened = method.make(catalog), method.sealed(catalog)
    audit(catalog, split)
    audit(catalog, opened)
    trained = set(catalog.family[split.rows("train")].tolist())
    assert set(catalog.family[split.rows("test_material")].tolist()) <= trained
    assert set(catalog.family[opened.rows("test_material")].tolist()) <= trained
    sealed = np.concatenate([opened.rows(part) for part in ("test_material", "test_family")])
    assert len(sealed) and (split.part[sealed] == -1).all()


def test_s_is_split_as_split_sealed_would_and_larger_sizes_keep_it():
    count = cbed230.SIZES["S"]
    listed = {name: part for name, part in zip(LISTED.material, LISTED.part, strict=True)}
    shares = Sealed(**SHARES, train_share=1.0, seed=SEED)
    for part in ("test_material", "test_family"):
        share = np.mean(LISTED.part[:count] == part)
        assert 0.08 < share < 0.17, "small groups give one material each, so shares are larger than asked for"
    assert shares.parts_of(Materials.of(catalog_of(count))).shape == (count,)
    assert len(listed) == len(LISTED)


def test_populations_that_grow_keep_every_part_and_send_relatives_after_their_family():
    rng = np.random.default_rng(3)
    family = np.sort(rng.integers(0, 300, 2000))
    stage = rng.integers(0, 3, 2000)
    materials = Materials(family % 30 + 1, family, np.arange(2000))
    method = Sealed(**SHARES, train_share=1.0, seed=1)
    whole = grown_parts(materials, stage, method)
    for last in (0, 1):
        some = np.flatnonzero(stage <= last)
        _, names = np.unique(family[some], return_inverse=True)
        part = grown_parts(Materials(materials.group[some], names, np.arange(len(some))), stage[some], method)
        np.testing.assert_array_equal(part, whole[some])
    for tests in (3, 11):  # test_family and sealed_family
        assert not set(family[whole == tests].tolist()) & set(family[whole != tests].tolist())
    trained = set(family[whole == 0].tolist())
    assert set(family[np.isin(whole, (2, 10))].tolist()) <= trained
    shares = [np.mean(whole == code) for code in (1, 2, 3, 10, 11)]
    np.testing.assert_allclose(shares, (0.1, 0.1, 0.1, 0.05, 0.1), atol=0.05)


def test_a_small_list_is_made_by_the_command_that_freezes():
    listed, crystals = make_list((60, 90))
    assert listed.material.tolist() == [crystal.name for crystal in crystals] and len(listed) == 90
    assert make_list((60,))[0].material.tolist() == listed.material[:60].tolist()
    assert set(listed.part.tolist()) <= set(cbed230.PARTS)


def test_less_training_keeps_all_tests_and_every_group():
    catalog = catalog_of(cbed230.SIZES["S"])
    splits = [CBED230(share).make(catalog) for share in (1.0, 0.5, 0.25)]
    for more, less in itertools.pairwise(splits):
        for part in ("validation", "test_material", "test_family"):
            np.testing.assert_array_equal(more.rows(part), less.rows(part))
        assert set(less.rows("train").tolist()) < set(more.rows("train").tolist())
    assert len(set(catalog.space_group[splits[-1].rows("train")].tolist())) == 230


def test_other_materials_are_no_part_of_the_benchmark():
    with pytest.raises(DataError, match=r"split=cbed230 knows the materials of CBED-230 v1.0 only, and 1 of 2"):
        CBED230(1.0).make(make_catalog([1, 2], [str(LISTED.material[0]), "mp-1"], ["a", "b"]))


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ([], "CBED-230 v1.0 S smc19"),
        (["simulation=blind"], "CBED-230 v1.0 S blind"),
        (["size=cbed230_m"], "CBED-230 v1.0 M smc19"),
        (["size=cbed230_l", "simulation=blind"], "CBED-230 v1.0 L blind"),
        (["simulation.processes=3"], "CBED-230 v1.0 S smc19"),
        (["simulation.thickness=99"], ""),
        (["simulation/engine=tilt"], ""),
        (["simulation/detector=camera"], ""),
        (["size=tiny"], ""),
        (["size.materials=2899"], ""),
    ],
)
def test_only_the_frozen_recipes_bear_the_name(words, title):
    config = Composer().check(["dataset=cbed230", *words])
    dataset = Dataset(config.dataset.root, config.dataset.materials, 0.05)
    assert dataset.title(simulation_recipe(config)) == title
    assert config.split.target.endswith("cbed230.split.CBED230")
