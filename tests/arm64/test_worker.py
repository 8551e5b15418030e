"""The persistent worker for aarch64."""

from corpus import read_outputs
from programs import both
from worker import REQUEST_ID, Worker

SETTINGS = [{"compress": "gzip"}, {"compress": "zstd"}]


def test_it_answers_one_request_after_another(corpora, folder) -> None:
    corpus = corpora["large"]
    expected, flagfiles = prepare(corpus, folder)
    with Worker(both()[1], corpus.base) as worker:
        for flagfile in flagfiles:
            worker.send([f"@{flagfile}"])
            assert worker.receive() == {}, "only a failure or a warning has fields"
        assert worker.end() == 0, worker.log.read_text()
    assert [read_outputs(corpus.base / flagfile.parent) for flagfile in flagfiles] == expected


def test_it_answers_concurrent_requests(corpora, folder) -> None:
    corpus = corpora["large"]
    expected, flagfiles = prepare(corpus, folder)
    with Worker(both()[1], corpus.base) as worker:
        for number, flagfile in enumerate(flagfiles, start=1):
            worker.send([f"@{flagfile}"], request_id=number)
        responses = [worker.receive() for _ in flagfiles]
        assert worker.end() == 0, worker.log.read_text()
    assert sorted(response[REQUEST_ID] for response in responses) == [1, 2]
    assert all(set(response) == {REQUEST_ID} for response in responses)
    assert [read_outputs(corpus.base / flagfile.parent) for flagfile in flagfiles] == expected


def test_it_reports_a_failure(corpora, folder) -> None:
    corpus = corpora["small"]
    with Worker(both()[1], corpus.base) as worker:
        worker.send(["--layer=default"], request_id=5)
        response = worker.receive()
        assert worker.end() == 0, worker.log.read_text()
    exit_code, output = 1, 2
    assert (response[exit_code], response[REQUEST_ID]) == (1, 5)
    assert response[output].startswith(b"pylayer: ")


def prepare(corpus, folder) -> tuple[list, list]:
    """Runs two actions with the program for x86_64. Returns their outputs, and flagfiles of the same actions."""
    expected, flagfiles = [], []
    for number, settings in enumerate(SETTINGS):
        for processor in "x86_64", "aarch64":
            (folder / f"{processor}-{number}").mkdir()
        expected.append(corpus.pack(both()[0], folder / f"x86_64-{number}", settings))
        flagfiles.append(corpus.write_flagfile(folder / f"aarch64-{number}", settings))
    return expected, flagfiles
