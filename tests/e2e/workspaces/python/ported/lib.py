import json
import pathlib

import hidden

DATA = json.loads(pathlib.Path(__file__).with_name("fixtures").joinpath("data.json").read_text())
NAME = hidden.NAME
