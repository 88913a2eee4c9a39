"""What of a job is the same on every machine, and what each machine has of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmill.errors import SettingsError
from pixelmill.models.weights import WeightsCache
from pixelmill.run.job import CacheSpec, Job
from settings import load_settings
from settings.job import make_cache, make_job


def travelled(cache: CacheSpec) -> CacheSpec:
    """As it comes out of a message."""
    return CacheSpec.model_validate_json(cache.model_dump_json())


def test_a_cache_that_nobody_named_is_each_machines_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own cache folder does not travel: another user's home is no place for a worker's weights."""
    sent = travelled(make_cache(load_settings()))
    assert str(tmp_path) not in sent.model_dump_json()
    assert make_cache(load_settings()).open().cache_dir == load_settings().weights.cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", "/worker/cache")
    assert sent.here({}).open() == WeightsCache(Path("/worker/cache/pixelmill/weights"))


def test_a_cache_that_was_named_travels(tmp_path: Path) -> None:
    """By its whole path, and to where the worker sees it; so do mirrors that are folders."""
    Path("pixelmill.toml").write_text(
        '[weights]\ncache_dir = "w"\nmirrors = {"*" = "m", "a.example" = "https://b/c"}\n'
    )
    sent = travelled(make_cache(load_settings()))
    assert sent.here({}).open().cache_dir == tmp_path / "w"
    there = sent.here({str(tmp_path): "/mnt/nas"})
    assert there.cache_dir == Path("/mnt/nas/w")
    assert there.mirrors == {"*": "/mnt/nas/m", "a.example": "https://b/c"}


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({"CACHE_DIR": "/own"}, CacheSpec(cache_dir="/own", mirrors={"*": "/run/m"})),
        ({"CACHE_DIR": "~/own"}, CacheSpec(cache_dir=Path.home() / "own", mirrors={"*": "/run/m"})),
        ({"MIRRORS": "/bundle", "OFFLINE": "true"}, CacheSpec(cache_dir="/run", mirrors={"*": "/bundle"}, offline=True)),
        ({"MIRRORS": '{"a.example": "https://b/c"}'}, CacheSpec(cache_dir="/run", mirrors={"a.example": "https://b/c"})),
    ],
)  # fmt: skip
def test_the_worker_machines_variables_come_first(
    variables: dict[str, str], seen: CacheSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the settings, in their spelling, and win there over what the run named."""
    for name, value in variables.items():
        monkeypatch.setenv(f"PIXELMILL_WEIGHTS__{name}", value)
    assert CacheSpec(cache_dir="/run", mirrors={"*": "/run/m"}).here({"/own": "/not/this"}) == seen
    said = make_cache(load_settings())
    for name in {name.lower() for name in variables}:
        assert getattr(said, name) == getattr(seen, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE_DIR", "s3://bucket/w"), ("CACHE_DIR", ""), ("MIRRORS", "{"), ("MIRRORS", '{"*": 3}'), ("MIRRORS", "https://me:hunter2@m.example"),
     ("OFFLINE", "perhaps")],
)  # fmt: skip
def test_a_variable_that_does_not_fit_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the worker's machine as the place to correct it, and without a password."""
    monkeypatch.setenv(f"PIXELMILL_WEIGHTS__{name}", value)
    with pytest.raises(SettingsError, match=f"variable PIXELMILL_WEIGHTS__{name} of this worker: .") as error:
        CacheSpec().here({})
    assert "hunter2" not in str(error.value)


def job_of(text: str) -> Job:
    Path("pixelmill.toml").write_text(text)
    return make_job(load_settings(), ["/photos"])


def test_where_run_and_workers_meet(tmp_path: Path) -> None:
    """In the store, unless a folder or an address is named; a folder by its whole path, for workers in other ones."""
    for named, place in {
        "": f"{tmp_path}/pixelmill-store/runs", 'handover = "meet"': f"{tmp_path}/meet",
        'handover = "~/meet"': f"{Path.home()}/meet", 'handover = "S3://bucket/meet/"': "s3://bucket/meet",
        'handover = "gs://bucket"': "gs://bucket",
    }.items():  # fmt: skip
        assert job_of(f"[run]\n{named}\n").handover_place == place


def test_the_variable_of_the_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a setting like others."""
    monkeypatch.setenv("PIXELMILL_RUN__HANDOVER", "s3://bucket/meet")
    assert make_job(load_settings(), ["/photos"]).handover_place == "s3://bucket/meet"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", r"Expected a path\. Got ''"),
        ("https://meet.example/a", "HTTP takes no files: https://meet.example/a"),
        ("ftp://me:hunter2@nas/meet", "without a password"),
        ("s3://bucket/a?X-Amz-Signature=hunter2", "without a signature or a key"),
        ("file:///meet", "name a file here by its path"),
        ("s3://", "Expected a host or a bucket"),
    ],
)
def test_a_handover_that_does_not_fit(place: str, said: str) -> None:
    """It is refused with the setting's name, before anything begins, and a password is not shown."""
    with pytest.raises(SettingsError, match=rf"run\.handover: .*{said}") as error:
        job_of(f'[run]\nhandover = "{place}"\n')
    assert "hunter2" not in str(error.value)
