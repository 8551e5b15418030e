"""Writes the results of tests as the JUnit XML that Bazel reads."""

import re

# Characters that XML 1.0 cannot represent, not even escaped. Messages of failures contain them.
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Case:
    """The result of one test: `outcome` is "passed", "failure", "error" or "skipped"."""

    def __init__(self, classname, name, seconds, outcome="passed", message="", details=""):
        self.classname = classname
        self.name = name
        self.seconds = seconds
        self.outcome = outcome
        self.message = message
        self.details = details


def write(path, suite, cases):
    """Writes `cases` as one test suite."""
    from xml.etree import ElementTree

    def count(outcome):
        return str(sum(case.outcome == outcome for case in cases))

    root = ElementTree.Element("testsuites")
    parent = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean(suite),
        tests=str(len(cases)),
        failures=count("failure"),
        errors=count("error"),
        skipped=count("skipped"),
        time="{:.3f}".format(sum(case.seconds for case in cases)),
    )
    for case in cases:
        element = ElementTree.SubElement(
            parent,
            "testcase",
            classname=_clean(case.classname),
            name=_clean(case.name),
            time="{:.3f}".format(case.seconds),
        )
        if case.outcome != "passed":
            outcome = ElementTree.SubElement(element, case.outcome, message=_clean(case.message))
            outcome.text = _clean(case.details)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text):
    return NOT_XML.sub("\ufffd", text)
