from dataclasses import asdict
from pathlib import Path

import yaml

from sgexp.evaluation.schema import EvaluationConfig

CONF = Path(__file__).parents[2] / "conf" / "evaluation"


def test_the_default_choice_lists_every_knob_at_its_default():
    text = (CONF / "default.yaml").read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text) == asdict(EvaluationConfig())
