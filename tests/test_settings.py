"""Settings: where they come from, and what is said when they do not fit."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from pixelmill.errors import SettingsError, UnknownModel
from settings import load_settings, parse_deadline
from settings.job import find_model, make_job


def test_flags_before_variables_before_the_file_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source overrides the next one field by field, not group by group."""
    Path("pixelmill.toml").write_text('[run]\nbatch_size = 2\nshard_size = 3\ndevice = "cpu"\n')
    monkeypatch.setenv("PIXELMILL_RUN__SHARD_SIZE", "5")
    monkeypatch.setenv("PIXELMILL_RUN__MODELS", "resnet18, resnet50")
    run = load_settings(overrides={"run": {"device": "cuda:1", "batch_size": None}}).run
    assert (run.batch_size, run.shard_size, run.device) == (2, 5, "cuda:1")
    assert run.models == ("resnet18", "resnet50")
    assert run.max_failure_rate == 0.05


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """--config comes before PIXELMILL_CONFIG, and that before ./pixelmill.toml."""
    for number, name in enumerate(("pixelmill.toml", "variable.toml", "flag.toml"), 1):
        Path(name).write_text(f"[run]\nbatch_size = {number}\n")
    assert load_settings().run.batch_size == 1
    monkeypatch.setenv("PIXELMILL_CONFIG", "variable.toml")
    assert load_settings().run.batch_size == 2
    assert load_settings(Path("flag.toml")).run.batch_size == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nbatch_sise = 2", "pixelmill.toml.*run.batch_sise is not a setting. Did you mean 'batch_size'"),
        ("[runn]\nbatch_size = 2", "runn is not a setting. Did you mean 'run'"),
        ("[run]\nbatch_size = 0", "run.batch_size: .*greater than or equal to 1. Got 0"),
        ('[run]\ndevice = "tpu"', "run.device: Expected auto, cpu, gpu, cuda or cuda:N. Got 'tpu'"),
        ('[run]\ndeadline = "6am"', "run.deadline: Expected a time such as 06:00, or a span such as 90m. Got '6am'"),
        ('[models.mine]\nbackend = "open_clip"\narchitecture = "x"\nchekpoint = "y"', "Did you mean 'checkpoint'"),
        ('[web]\nurl = "gallery"', "web.url: .*Got 'gallery'"),
        ('[heads.a]\nkind = "pca"\nmodel = "m"', "heads.a.components is missing."),
        ('[heads.resnet50]\nkind = "pca"\nmodel = "m"\ncomponents = 2', "heads: .*that no model has. Got 'resnet50'"),
        ('[heads.a]\nkind = "zeroshot"', "heads.a: .*Got 'zeroshot'. Did you mean 'zero_shot'"),
        ('[heads.a]\nmodel = "m"', "heads.a: .*It is missing."),
        ('[heads.a]\nkind = "file"\nmodel = "m"', "heads.a.file is missing."),
        ('[heads.a]\nkind = "file"\nmodel = "m"\nfile = "x"\nnormalise = 1', "heads.a.normalise is not.*'normalize'"),
        ('[heads.a]\nkind = "zero_shot"\nmodel = "m"\nlabels = ["a", "a"]', "heads.a.labels: .*each label once"),
        (
            '[heads.a]\nkind = "zero_shot"\nmodel = "m"\nlabels = ["a", "b"]\nprompts = ["x"]',
            "heads.a.prompts: Expected {} where the label goes",
        ),
        ('[heads.a]\nkind = "linear"\nmodel = "m"', "heads.a: Expected one of column, examples and examples_file"),
        ('[heads."a b"]\nkind = "linear"\nmodel = "m"\ncolumn = "x"', "heads: Expected a name of letters.*'a b'"),
        ('[heads.path]\nkind = "linear"\nmodel = "m"\ncolumn = "x"', "heads: Expected a name that is free. 'path'"),
        ("[run", "Expected pixelmill.toml to be TOML"),
    ],
)
def test_what_does_not_fit_is_named(text: str, words: str) -> None:
    """The message names the file, the field, what was expected and the nearest right name."""
    Path("pixelmill.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_settings()


@pytest.mark.parametrize("content", [b"\xff", b"x = " + b"[" * 5000, b"x = " + b"9" * 5000, b"\0"])
def test_a_file_that_is_no_text_of_settings_is_told(content: bytes) -> None:
    """Bytes that are no UTF-8, thousands of brackets or digits: the message names the file."""
    Path("pixelmill.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"pixelmill\.toml"):
        load_settings()


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is no setting is refused, not ignored."""
    monkeypatch.setenv("PIXELMILL_RUN__BATCHSIZE", "3")
    with pytest.raises(SettingsError, match="PIXELMILL_RUN__BATCH_SIZE"):
        load_settings()


def test_own_models_come_before_the_catalog() -> None:
    """A model of the settings is found by its name; an unknown one is told the nearest of both."""
    Path("pixelmill.toml").write_text(
        '[models.my_clip]\nbackend = "open_clip"\narchitecture = "ViT-B-32"\ncheckpoint = "tuned.safetensors"\ndevice = "cpu"\n'
    )
    settings = load_settings(overrides={"run": {"models": ("my_clip", "resnet18")}})
    job = make_job(settings, ["photos"])
    assert [(spec.name, spec.dim) for spec in job.specs] == [("my_clip", 512), ("resnet18", 512)]
    assert job.specs[0].weights.url.endswith("/tuned.safetensors")
    assert job.devices == {"my_clip": "cpu"}
    with pytest.raises(UnknownModel, match="In the settings: Did you mean 'my_clip'"):
        find_model(settings, "my_clap")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("06:00", datetime(2026, 5, 2, 6, 0)),
        ("23:30", datetime(2026, 5, 1, 23, 30)),
        ("90m", datetime(2026, 5, 2, 0, 30)),
        ("1.5h", datetime(2026, 5, 2, 0, 30)),
    ],
)
def test_deadlines(text: str, expected: datetime) -> None:
    """A clock time means the next one; a length counts from now."""
    assert parse_deadline(text, datetime(2026, 5, 1, 23, 0)) == expected


def test_the_deadline_of_a_night_counts_from_when_it_was_to_begin() -> None:
    """A run that a worker takes hours late has the deadline of its night, which may be over; by hand, it is the next."""
    settings = load_settings(overrides={"run": {"deadline": "06:00"}})
    begins = datetime(2026, 5, 1, 22, 0).astimezone()
    assert make_job(settings, ["photos"], due_from=begins).deadline == datetime(2026, 5, 2, 6, 0).timestamp()
    by_hand = make_job(settings, ["photos"]).deadline
    assert by_hand is not None
    assert 0 < by_hand - time.time() <= 86_400 + 3600


@pytest.mark.parametrize(
    ("begins", "deadline", "ends"),
    [
        ("2026-03-28T21:00Z", "06:00", "2026-03-29T04:00Z"),
        ("2026-10-24T20:00Z", "06:00", "2026-10-25T05:00Z"),
        ("2026-03-28T21:00Z", "8h", "2026-03-29T05:00Z"),
        ("2026-10-24T20:00Z", "8h", "2026-10-25T04:00Z"),
    ],
)
def test_a_deadline_is_by_the_clock_in_the_nights_in_which_that_is_changed(
    begins: str, deadline: str, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 06:00 people are up, whether summer time begins or ends in the night; a span is as long as it is."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        settings = load_settings(overrides={"run": {"deadline": deadline}})
        due_from = datetime.fromisoformat(begins)
        assert make_job(settings, ["photos"], due_from=due_from).deadline == datetime.fromisoformat(ends).timestamp()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_example_file_is_valid_and_shows_every_setting() -> None:
    """`examples/pixelmill.toml` loads, and names each field that there is."""
    from settings import Settings

    file = Path(__file__).parent.parent / "examples" / "pixelmill.toml"
    load_settings(file)
    text = file.read_text()
    for group in ("run", "schedule", "images", "weights", "web"):
        annotation = Settings.model_fields[group].annotation
        assert annotation is not None
        for field in annotation.model_fields:
            assert f"{field} =" in text or f"[{group}.{field}]" in text, f"{group}.{field} is not in the example"


def test_defaults_follow_the_environment_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache lies where XDG_CACHE_HOME says when the settings are read, not when the package was imported."""
    for name in ("one", "two"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        assert load_settings().weights.cache_dir == tmp_path / name / "pixelmill" / "weights"


@pytest.mark.parametrize("service", ["PIXELMILL", "PIXELMILL_WEB", "PIXELMILL_GALLERY_2"])
def test_what_kubernetes_says_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    """In a pod beside a Service called `pixelmill` or `pixelmill-web`, as Kubernetes documents its variables."""
    said = {
        "SERVICE_HOST": "10.0.0.11", "SERVICE_PORT": "6379", "SERVICE_PORT_HTTPS": "443", "PORT": "tcp://10.0.0.11:6379",
        "PORT_6379_TCP": "tcp://10.0.0.11:6379", "PORT_6379_TCP_PROTO": "tcp", "PORT_6379_TCP_PORT": "6379",
        "PORT_6379_TCP_ADDR": "10.0.0.11", "PORT_53_UDP": "udp://10.0.0.11:53",
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    assert load_settings().web.port == 8000


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("PIXELMILL_PORT", "9000", "PIXELMILL_WEB__PORT"),
        ("PIXELMILL_WEB_PORT", "9000", "PIXELMILL_WEB__PORT"),
        ("PIXELMILL_WEB__HOTS", "localhost", "PIXELMILL_WEB__HOST"),
        ("PIXELMILL_SERVICE", "x", ""),
    ],
)
def test_what_looks_like_a_setting_is_still_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, nearest: str
) -> None:
    """A port that is a number is nothing that Kubernetes says."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is not a setting.*{nearest}"):
        load_settings()


def test_tables_are_found_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is absolute in the job, wherever it was written; a variable holds all tables as JSON."""
    Path("pixelmill.toml").write_text('[[tables]]\npath = "labels.csv"\nkey = "stem"\ncolumns = ["label"]\n')
    (table,) = make_job(load_settings(), ["x"]).tables
    assert (table.path, table.key, table.on, table.columns) == (
        str(Path("labels.csv").absolute()),
        "stem",
        None,
        ("label",),
    )
    monkeypatch.setenv("PIXELMILL_TABLES", '[{"path": "s3://bucket/labels.parquet", "on": "image_id"}]')
    (table,) = make_job(load_settings(), ["x"]).tables
    assert (table.path, table.on) == ("s3://bucket/labels.parquet", "image_id")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('path = "labels.xlsx"', r"tables\.0\.path: Expected a table called \*\.csv, .* Got 'labels\.xlsx'\.$"),
        ('path = "https://u:p@host/l.csv"', r"tables\.0\.path: Expected an address without a login"),
        ('path = "l.csv"\nkey = "name"', r"tables\.0\.key: Input should be 'path', 'stem' or 'sha256'\. Got 'name'"),
        ('path = "l.csv"\ncolumns = []', r"tables\.0\.columns: .* at least 1"),
        ('path = "l.csv"\ncolum = ["a"]', r"tables\.0\.colum is not a setting\. Did you mean 'columns'\?"),
        ('key = "path"', r"tables\.0\.path is missing"),
    ],
)
def test_tables_that_do_not_fit(text: str, words: str) -> None:
    """The field is named, and what was expected."""
    Path("pixelmill.toml").write_text(f"[[tables]]\n{text}\n")
    with pytest.raises(SettingsError, match=words):
        load_settings()


SEARCH = 'name = "search"\nto = "parquet:out"\nmodels = ["a"]\n'


def test_deliveries_go_to_absolute_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is absolute in the job, wherever it was written, and an address as it stands; a variable holds all
    deliveries as JSON, and another one a password, which is no setting."""
    Path("pixelmill.toml").write_text(f'[[deliveries]]\n{SEARCH}columns = ["label"]\nwhere = "label = 1"\n')
    monkeypatch.setenv("PIXELMILL_PASSWORD_SEARCH", "open sesame")
    (delivery,) = make_job(load_settings(), ["x"]).deliveries
    assert (delivery.to, delivery.columns) == (f"parquet:{Path('out').absolute()}", ("label",))
    assert delivery.password == "open sesame"
    assert "sesame" not in make_job(load_settings(), ["x"]).model_dump_json()
    two = '[{"name": "one", "to": "postgresql://app@db/x", "models": ["a", "b"]}, {"name": "two", "to": "lancedb:~/x", '
    monkeypatch.setenv("PIXELMILL_DELIVERIES", two + '"models": ["a"], "required": true}]')
    one, other = make_job(load_settings(), ["x"]).deliveries
    assert (one.to, one.models, one.required) == ("postgresql://app@db/x", ("a", "b"), False)
    assert (other.to, other.required) == (f"lancedb:{Path.home()}/x", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            SEARCH.replace("parquet:out", "mysql://db/x"),
            r"deliveries\.0\.to: Expected a target such as postgresql:.*",
        ),
        (SEARCH.replace("parquet:out", "parqet:out"), r"deliveries\.0\.to: .* Got 'parqet:out'\. .* 'parquet'\?$"),
        (
            SEARCH.replace("parquet:out", "postgresql://u:pw@db/x"),
            r"deliveries\.0\.to: Expected a target without a pass",
        ),
        (SEARCH.replace("parquet:out", "parquet:"), r"deliveries\.0\.to: Expected a place behind 'parquet:'"),
        (
            SEARCH.replace("search", "My Search"),
            r"deliveries\.0\.name: Expected a name such as search .* 'My Search'\.$",
        ),
        (SEARCH.replace('["a"]', "[]"), r"deliveries\.0\.models: .* at least 1"),
        (f'{SEARCH}columns = ["sha256"]', r"deliveries\.0\.columns: Expected columns beside row, path.* 'sha256'"),
        (f'{SEARCH}columns = ["a b", "a_b"]', r"deliveries\.0\.columns: Expected columns of .* Got 'a_b' twice"),
        (f"{SEARCH}normalise = true", r"deliveries\.0\.normalise is not a setting\. Did you mean 'normalize'\?"),
        (f"{SEARCH}[[deliveries]]\n{SEARCH}", r"deliveries: Expected a name of its own .* search is there twice"),
    ],
)
def test_deliveries_that_do_not_fit(text: str, words: str) -> None:
    """The field is named, and what was expected; no password is shown."""
    Path("pixelmill.toml").write_text(f"[[deliveries]]\n{text}\n")
    with pytest.raises(SettingsError, match=words) as raised:
        load_settings()
    assert "pw" not in str(raised.value).replace("PIXELMILL_PASSWORD", "")
