"""The same job handed in twice is one job."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

PATH = Path(__file__).parents[2] / "jobs" / "submit.py"


@pytest.fixture
def submit():
    spec = importlib.util.spec_from_file_location("submit", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.submit


class Client:
    """What Ray's job server answers, as far as `submit` asks it."""

    def __init__(self, **jobs: JobStatus) -> None:
        self.jobs = dict(jobs)
        self.n_submitted = 0

    def list_jobs(self):
        return [SimpleNamespace(submission_id=job, status=s) for job, s in self.jobs.items()]

    def delete_job(self, job):
        del self.jobs[job]

    def submit_job(self, *, entrypoint, submission_id, runtime_env):
        if submission_id in self.jobs:
            raise RuntimeError(f"Job with submission_id {submission_id} already exists.")
        assert Path(runtime_env["working_dir"]) == PATH.parent
        self.jobs[submission_id] = JobStatus.PENDING
        self.n_submitted += 1


def test_a_job_that_waits_runs_or_has_succeeded_is_not_submitted_again(submit):
    client = Client()
    for status in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCEEDED):
        submit(client, "dfd-1", "python scan.py a")
        assert client.n_submitted == 1
        client.jobs["dfd-1"] = status


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED])
def test_a_job_that_failed_is_submitted_anew(submit, status):
    client = Client(**{"dfd-1": status})
    submit(client, "dfd-1", "python scan.py a")
    assert (client.n_submitted, client.jobs["dfd-1"]) == (1, JobStatus.PENDING)


def test_a_submitter_who_comes_a_moment_late_leaves_the_job_to_the_other(submit, capsys):
    client = Client()
    client.list_jobs = list  # both looked before either submitted
    submit(client, "dfd-1", "python scan.py a")
    submit(client, "dfd-1", "python scan.py a")
    assert client.n_submitted == 1
    assert "someone else" in capsys.readouterr().out


def test_a_cluster_without_agents_is_asked_again_and_its_words_are_told(submit):
    client = Client()
    client.submit_job = raising("Request failed with status code 500: No available agent.\n")
    assert "No available agent" in submit(client, "dfd-1", "python scan.py a")
    del client.submit_job
    assert submit(client, "dfd-1", "python scan.py a") is None
    assert client.n_submitted == 1


def raising(words):
    def submit_job(**_):
        raise RuntimeError(words)

    return submit_job
