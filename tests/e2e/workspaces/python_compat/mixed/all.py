import importlib
import json
import sys

NAMES = sys.argv[1:]

print(json.dumps([importlib.import_module(name).NAME for name in NAMES]))
