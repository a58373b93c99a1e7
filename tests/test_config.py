"""What a config may say: it is typed, ranges hold, names are known, and a stranger's config runs nothing."""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict

from sgexp import checking, config
from sgexp.composition import Composer, name_of
from sgexp.errors import ConfigError
from sgexp.runs import config_hash
from sgexp.schema import Component, bounded, one_of, plain
from sgexp.usage import CONF_DIR, default_choices


@dataclass(kw_only=True)
class Leaf(Component):
    target: ClassVar[str] = "somewhere.Leaf"
    depth: int = bounded(1, low=0, high=3)


@dataclass(kw_only=True)
class OtherLeaf(Component):
    target: ClassVar[str] = "somewhere.OtherLeaf"
    width: float = 1.0


@dataclass(kw_only=True)
class Tree:
    count: int = bounded(1, low=1)
    share: float = bounded(0.5, low=0.0, high=1.0)
    kind: str = one_of("oak", "oak", "elm")
    rings: list[float] = bounded([1.0], low=0.0)
    names: dict[int, int] = field(default_factory=dict)
    limit: int | None = bounded(None, low=1)
    evergreen: bool = False
    leaf: Leaf = field(default_factory=Leaf)


GROUPS = {"tree": (Tree,), "tree/leaf": (Leaf, OtherLeaf)}
LEAF = {"_target_": "somewhere.Leaf"}


def read(**values):
    return checking.read({"leaf": LEAF, **values}, object, "tree", GROUPS)


@pytest.fixture(scope="module")
def composer():
    return Composer()


def test_values_become_typed_objects():
    tree = read(count=3, share=1, rings=[1, 2.5], names={14: 2}, limit=None, leaf={**LEAF, "depth": 2})
    assert tree == Tree(count=3, share=1.0, rings=[1.0, 2.5], names={14: 2}, leaf=Leaf(depth=2))
    assert isinstance(tree.share, float)


def test_a_target_selects_which_schema_reads_the_node():
    assert read(leaf={"_target_": "somewhere.OtherLeaf", "width": 2}).leaf == OtherLeaf(width=2.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"coutn": 1}, "there is no key 'tree.coutn'; did you mean 'tree.count'?"),
        ({"count": 0}, "tree.count=0 is out of range: it must be at least 1"),
        ({"share": 1.5}, "tree.share=1.5 is out of range: it must be between 0.0 and 1.0"),
        ({"share": float("nan")}, "tree.share=nan has the wrong type: it must be a number"),
        ({"count": 1.5}, "tree.count=1.5 has the wrong type: it must be a whole number"),
        ({"count": True}, "tree.count=true has the wrong type: it must be a whole number"),
        ({"count": None}, "tree.count=null has the wrong type: it must be a whole number"),
        ({"count": [1]}, "tree.count=[1] has the wrong type: it must be a whole number"),
        ({"evergreen": "yes"}, "tree.evergreen='yes' has the wrong type: it must be true or false"),
        ({"kind": "ok"}, "tree.kind='ok' is not one of 'oak', 'elm'; did you mean 'oak'?"),
        ({"rings": [1, -1]}, "tree.rings[1]=-1.0 is out of range: it must be at least 0.0"),
        ({"rings": 1}, "tree.rings=1 must be a list, such as tree.rings=[...]"),
        ({"names": {"a": 1}}, "a name in tree.names='a' has the wrong type: it must be a whole number"),
        ({"limit": 0}, "tree.limit=0 is out of range: it must be at least 1"),
        ({"leaf": {**LEAF, "width": 1}}, "the choice made of tree.leaf has no key 'tree.leaf.width', others have"),
        ({"leaf": {}}, "tree.leaf._target_ is missing: it must be one of somewhere.Leaf, somewhere.OtherLeaf"),
        ({"leaf": None}, "tree.leaf=null is not a choice of the group tree/leaf"),
        ({"leaf": {"_target_": "os.system"}}, "tree.leaf._target_='os.system' is refused"),
        ({"_target_": "somewhere.Leaf"}, "tree._target_='somewhere.Leaf' is refused: the group tree takes none"),
        ({"_partial_": True}, "tree._partial_ is refused"),
        ({"names": {"_args_": 1}}, "tree.names._args_ is refused"),
        ({"more": [{"_target_": "os.system"}]}, "tree.more[0]._target_ is refused"),
    ],
)
def test_what_is_wrong_is_refused_with_key_value_and_what_would_be_right(values, sentence):
    with pytest.raises(ConfigError) as refused:
        read(**values)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_is_read_as_its_type_or_refused(value):
    for name in ("count", "share", "kind", "rings", "names", "limit", "evergreen", "leaf"):
        try:
            tree = read(**{name: value})
        except ConfigError:
            continue
        assert tree.count >= 1 and 0 <= tree.share <= 1 and tree.kind in ("oak", "elm")
        assert all(isinstance(ring, float) and ring >= 0 for ring in tree.rings)


@pytest.mark.parametrize(
    "text", ["${oc.env:HOME}", "${oc.decode:'1'}", "${hydra:run.dir}", "a${now:%Y}", "${oc.env:${x}}"]
)
def test_a_config_reads_no_more_than_its_own_environment_variables(text):
    with pytest.raises(ConfigError, match="is refused: only other keys"):
        config.resolve(OmegaConf.create({"x": text}))


def test_own_environment_variables_and_other_keys_may_be_read(monkeypatch):
    monkeypatch.setenv("SGEXP_HERE", "5")
    composed = OmegaConf.create({"x": "${oc.env:SGEXP_HERE}", "y": "${oc.env:SGEXP_NOT_THERE,data}/${x}"})
    assert config.resolve(composed) == {"x": "5", "y": "data/5"}


def test_the_default_experiment_is_right_and_every_field_has_its_type(composer):
    checked = composer.check([])
    for item in dataclasses.fields(config.Config):
        value = getattr(checked, item.name)
        if item.name in config.groups():
            assert type(value) in config.groups()[item.name]
    assert checked.seed == 1
    assert checked.simulation.grid == checked.size.grid


def test_every_group_has_a_default_and_a_field():
    order, defaults = default_choices(CONF_DIR / "config.yaml")
    top_level = [group for group in config.groups() if "/" not in group]
    assert (
        set(top_level)
        == set(order) - {"experiment"}
        == {f.name for f in dataclasses.fields(config.Config)} - set(config.PLAIN_FIELDS)
    )
    assert all((CONF_DIR / group / f"{defaults[group]}.yaml").is_file() for group in top_level)


def test_a_checked_config_reads_back_from_its_record(composer):
    checked = composer.check(["sampler=smote", "+sampler.table={14: 500}", "seed=3"])
    assert config.check(OmegaConf.create(plain(checked))) == checked


@pytest.mark.parametrize(
    "choice", [["trainer.workers=2"], ["output_dir=/x"], ["data_dir=/x"], ["name=x"], ["logger=none"]]
)
def test_the_hash_names_the_experiment_and_not_the_machine(composer, choice):
    assert config_hash(plain(composer.check(choice))) == config_hash(plain(composer.check([])))


def test_the_hash_of_the_default_experiment_is_what_it_was(composer):
    # Recorded before detectors were: another one, and nobody's sweep or resume=auto finds its runs again.
    # Its data are now others (edition 2 of the library, three times as many crystals at half the pixels, the fast
    # engine): with those of then it is the same experiment as then.
    first = ["dataset.library=1", "size.materials=2900", "size.train_pixels=64", "simulation=smc19"]
    assert config_hash(plain(composer.check(["data_dir=data", *first]))) == "b21dc2b6"
    second = ["size.materials=5800", "size.train_pixels=64"]
    assert config_hash(plain(composer.check(["data_dir=data", *second]))) == "60418669"
    assert config_hash(plain(composer.check(["data_dir=data"]))) == "8a6d27e0"


@pytest.mark.parametrize(
    "choice", [["seed=2"], ["sampler=smote"], ["trainer.epochs=2"], ["size=tiny"], ["model.width=12"]]
)
def test_the_hash_changes_with_the_experiment(composer, choice):
    assert config_hash(plain(composer.check(choice))) != config_hash(plain(composer.check([])))


def test_what_was_read_once_is_changed_by_no_composition():
    composer, asked = Composer(), ["experiment=best", "+sampler.table={14: 500}"]
    first = composer.compose(asked)
    told = OmegaConf.to_yaml(first)
    with open_dict(first):
        first.sampler.table[14], first.trainer, first.seed = 1, None, 9
    other = composer.compose(["experiment=smc2019_smote", "sampler.k_neighbors=3", "model.width=7"])
    assert OmegaConf.to_yaml(composer.compose(asked)) == told == OmegaConf.to_yaml(Composer().compose(asked))
    assert other.sampler.k_neighbors == 3


def test_a_sweep_is_every_combination(composer):
    own, jobs = composer.jobs(["sampler=none,smote", "seed=range(1,4)", "name=x", "hydra/launcher=basic"])
    assert own == ["hydra/launcher=basic"]
    assert len(jobs) == 6
    assert jobs[0] == ["sampler=none", "seed=1", "name=x"]
    assert {job[0] for job in composer.jobs(["sampler=glob(random*)"])[1]} == {
        "sampler=random_over",
        "sampler=random_under",
    }


def test_a_run_is_named_after_the_choices_made():
    assert name_of(["sampler=smote", "model=resnet50", "seed=3", "trainer.epochs=2"]) == "smote-resnet50"
    assert name_of(["task=train", "seed=3"]) == "default"


def test_single_patterns_are_refused_to_a_network_that_wants_them_stacked(composer):
    with pytest.raises(ConfigError, match=r"augment.show=one .* set model.patterns=shared"):
        composer.check(["augment.show=one", "model=resnet18"])
    assert composer.check(["augment.show=each", "model=set"]).augment.show == "each"
    with pytest.raises(ConfigError, match=r"augment.erase_least=0.5 is more than"):
        composer.check(["augment.erase_least=0.5"])


def test_a_dose_is_a_range(composer):
    assert composer.check(["augment.dose=[1e4,1e6]"]).augment.dose == [1e4, 1e6]
    with pytest.raises(ConfigError, match=r"augment.dose=\[10.0, 1.0\] must be the smallest and the largest dose"):
        composer.check(["augment.dose=[10,1]"])
