"""The pytest plugin of `py_test`: shards, seeds and warnings as Bazel asks for.

pytest-xdist loads it in its workers, which collect and run the tests.
"""

import os
import random
import warnings

import pytest

import _pylayer_bazel as bazel

# What a worker of pytest-xdist reports to its controller.
EMPTY_SHARD = "pylayer_empty_shard"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    seed = bazel.random_seed()
    if seed is not None:
        random.seed(seed)
        # The option of pytest-randomly, if that is installed and active.
        if getattr(config.option, "randomly_seed", None) == "default":
            config.option.randomly_seed = seed
    config.pluginmanager.register(_Plugin(config), "pylayer")


class _Plugin:
    def __init__(self, config):
        self.config = config
        self.is_xdist_worker = hasattr(config, "workerinput")
        self.shard_is_empty = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        found = bool(items)
        items[:] = bazel.in_this_shard(items, lambda item: item.nodeid)
        self.shard_is_empty = found and not items

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        if self.is_xdist_worker:
            self.config.workeroutput[EMPTY_SHARD] = self.shard_is_empty
        elif self.shard_is_empty and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        if getattr(node, "workeroutput", {}).get(EMPTY_SHARD):
            self.shard_is_empty = True

    def pytest_warning_recorded(self, warning_message):
        path = os.environ.get("TEST_WARNINGS_OUTPUT_FILE")
        if path and not self.is_xdist_worker:
            with open(path, "a", encoding="utf-8") as file:
                w = warning_message
                file.write(warnings.formatwarning(w.message, w.category, w.filename, w.lineno, w.line))
