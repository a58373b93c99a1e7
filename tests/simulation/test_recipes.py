"""New crystals from known ones: of the label wanted, never of those held out, and made again from their recipe."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import spglib
from scipy.ndimage import rotate

from sgexp.crystallography.groups import enantiomorph_of, merged_219
from sgexp.crystallography.library import load_library
from sgexp.crystallography.mirror import mirrored
from sgexp.crystallography.substitution import children
from sgexp.schema import build
from sgexp.simulation.recipes import Changes, Recipe, Recipes
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.stack import simulate
from sgexp.simulation.variants import kind

CONFIG = SimulationConfig(grid=32, box=12.0, pixels=16, thickness=12.0)
CHANGES = Changes(0.75, 0.05, "any", 6, (0.8, 1.2), True, True)
GROUPS = (14, 62, 92, 96, 152, 154, 198, 225)


@pytest.fixture(scope="module")
def library():
    small = [crystal for crystal in load_library() if len(crystal) <= 12]
    return [one for group in GROUPS for one in [c for c in small if c.space_group == group][:5]]


def recipes_of(library, changes=CHANGES, label_of_group=None, held_out=(), seed=0):
    labels = np.arange(231) if label_of_group is None else label_of_group
    names = {one.name for one in held_out}
    trained = [(one, int(labels[one.space_group]), [200.0]) for one in library if one.name not in names]
    return Recipes(trained, labels, held_out, changes, CONFIG, seed)


def spglib_group(crystal):
    return spglib.get_symmetry_dataset((crystal.cell, crystal.positions, crystal.numbers), symprec=0.01).number


def test_every_crystal_has_its_label_by_spglib_and_its_recipe_makes_it_again(library):
    recipes, again = recipes_of(library), recipes_of(library)
    made = [(label, recipes.draw(label, number)) for label in recipes.families for number in range(2)]
    assert sum(one is not None for _, one in made) > 0.6 * len(made)
    for number, (label, found) in enumerate(made):
        second = again.draw(label, number % 2) if number % 4 < 2 else found
        assert (found is None) == (second is None)
        if found is None:
            continue
        recipe, crystal = found
        assert spglib_group(crystal) == label and recipe == second[0]
        remade = recipe.crystal(recipes.parents[recipe.parent])
        for name in ("cell", "numbers", "positions"):
            np.testing.assert_array_equal(getattr(remade, name), getattr(crystal, name))
        assert crystal.family == recipes.parents[recipe.parent].family
        assert recipe.mirrored == (recipes.parents[recipe.parent].space_group != label)
        assert 0.8 * 12 <= recipe.thickness <= 1.2 * 12 and len(set(recipe.uvw)) == 3


def test_mirror_images_have_the_partners_label_in_the_22_groups_alone(library):
    for crystal in library:
        image = mirrored(crystal)
        assert spglib_group(image) == image.space_group == enantiomorph_of[crystal.space_group]
    one_hand = [crystal for crystal in library if crystal.space_group != 154]
    made = [recipes_of(one_hand).draw(154, number) for number in range(6)]
    assert any(found is not None and found[0].mirrored for found in made)
    assert 154 not in recipes_of(one_hand, replace(CHANGES, enantiomorph=False)).families
    merged = recipes_of(library, label_of_group=merged_219)
    assert 154 not in merged.families and {c.space_group for c, _ in _made(merged, 152)} == {152, 154}


def _made(recipes, label):
    return [(found[1], found[0]) for found in (recipes.draw(label, n) for n in range(12)) if found is not None]


def test_nothing_that_is_held_out_is_made_nor_its_mirror_image(library):
    plain = Changes(1.0, 0.0, "same", 3, (1.0, 1.0), False, True)
    free = recipes_of(library, plain)
    wanted = [crystal for label in (152, 225) for crystal, recipe in _made(free, label)]
    assert len(wanted) > 10
    held_out = [*wanted[::2], *(mirrored(one) for one in wanted[1::2])]
    recipes = recipes_of(library, plain, held_out=held_out)
    for label in (152, 154, 225):
        for crystal, recipe in _made(recipes, label):
            itself = crystal.name == recipe.parent  # the training crystal, whoever has its formula
            assert itself or kind(crystal) not in set(map(kind, held_out))
            assert crystal.name not in {one.name for one in held_out}
            assert recipe.energy_kev == 200.0 and not recipe.uvw and recipe.thickness is None
    tested = [one for one in library if one.space_group in (14, 225)]
    parents = recipes_of(library, plain, held_out=tested)
    assert not {14, 225} & set(parents.families) and not {one.name for one in tested} & set(parents.parents)


def test_families_take_turns(library):
    recipes = recipes_of(library)
    families = recipes.families[62]
    drawn = [recipes.draw(62, number) for number in range(len(families))]
    assert len({one[1].family for one in drawn if one is not None}) == sum(one is not None for one in drawn)


def test_a_turned_crystal_has_a_turned_picture():
    """Against scipy's rotation; a cubic crystal along its axes, atoms at rest, the same box."""
    gold = next(one for one in load_library() if len(one) == 4 and one.space_group == 225)
    config = SimulationConfig(
        grid=256, box=50.0, pixels=256, thickness=20.0, displacement=0.0, uvw=[[0, 0, 1]] * 3, overlap=0.5
    )
    engine = build(config.engine)
    angle = np.radians(30.0)
    straight, turned = (simulate(gold, config, engine, 200.0, 1, turn=a).patterns[0] for a in (0.0, angle))
    pictures = [np.roll(p, 0, (0, 1))[1:, 1:] for p in (straight, turned)]  # the zero frequency in the middle
    errors = {
        degrees: np.abs(rotate(pictures[0], degrees, reshape=False, order=1) - pictures[1]).sum() / pictures[1].sum()
        for degrees in (0.0, 30.0, -30.0)
    }
    assert min(errors, key=errors.get) != 0.0 and min(errors.values()) < 0.5 * errors[0.0]


def test_a_recipe_is_simulated_the_same_again(library):
    child = next(children(library[0], 1))
    elements = tuple(_symbols(library[0], child))
    recipe = Recipe(library[0].name, elements, 0.03, 5, True, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), 15.0, 0.4, 150.0, 9)
    engine = build(CONFIG.engine)
    one, two = (recipe.stack(recipe.crystal(library[0]), CONFIG, engine) for _ in range(2))
    np.testing.assert_array_equal(one.patterns, two.patterns)
    other = replace(recipe, thickness=30.0).stack(recipe.crystal(library[0]), CONFIG, engine)
    assert (other.patterns != one.patterns).any() and asdict(recipe)["mirrored"]


def _symbols(parent, child):
    from sgexp.crystallography.elements import ELEMENTS

    places = dict(zip(parent.numbers.tolist(), child.numbers.tolist(), strict=True))
    return [ELEMENTS[places[z]].symbol for z in sorted(places)]
