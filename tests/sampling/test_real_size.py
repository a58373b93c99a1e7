"""Plans for SMC-19 as it is: 148,006 training samples of 200 groups, from 10 to 11,764 each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ANEW = "instance sqrt class_balanced progressive deferred repeat_factor m_per_class family_balanced".split()
# The first takes the most by itself; what others leave behind in the process would be counted to it.
PLANNED = ["instance_hardness", *ANEW, "RandomUnder", "RandomOver", "near_miss", "Smote", "cross_material"]
PLANNED += ["kmeans_smote", "cluster_centroids", "energy_interpolation", "Staged"]
RAISE_ALL = ["RandomOver", "Smote", "cross_material", "kmeans_smote", "energy_interpolation"]
LARGEST = 11_764


@pytest.fixture(scope="module")
def planned():
    """What each choice draws, and the megabytes beside the features that it or any before it took."""
    script = Path(__file__).with_name("planning_at_real_size.py")
    done = subprocess.run([sys.executable, str(script), *PLANNED], capture_output=True, text=True, check=True)
    return {facts["choice"]: facts for facts in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
def test_plans_for_all_of_smc19_stay_under_500_mb(planned):
    """The choices that are not quadratic, but for those that take long (docs/sampling.md has them)."""
    assert list(planned) == PLANNED
    assert all(facts["megabytes"] < 500 for facts in planned.values()), planned
    assert planned["Smote"]["megabytes"] > 24 * 2_352_800 / 1e6, "the plan itself at least: memory was measured"


@pytest.mark.slow
def test_plans_for_all_of_smc19_serve_every_group(planned):
    assert {facts["classes"] for facts in planned.values()} == {200}
    for name in RAISE_ALL:
        assert planned[name]["fewest"] == LARGEST
        assert planned[name]["most"] <= LARGEST * (1.001 if name == "kmeans_smote" else 1), "k-means SMOTE rounds up"
    for name in ("class_balanced", "m_per_class", "family_balanced"):
        assert planned[name]["draws"] == 148_006 and planned[name]["most"] - planned[name]["fewest"] <= 4
    for name in ("RandomUnder", "near_miss", "instance_hardness", "cluster_centroids"):
        assert planned[name]["most"] == 145, "the median of all counts"
