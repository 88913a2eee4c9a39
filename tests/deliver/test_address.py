"""Addresses of targets: what lets in stands in none, and is not shown where it does."""

from __future__ import annotations

import pytest

from pixelmill.deliver.address import checked_target, shown_target


@pytest.mark.parametrize(
    "to",
    [
        "postgresql://app:hunter2@db/photos",
        "postgresql://app:hun/ter2@db/photos",
        "postgresql://app:hun#ter2@db/photos",
        "postgresql://app:hun?ter2@db/photos",
        "postgresql://db/photos?user=app&password=hunter2",
        "postgresql://db/photos?%70assword=hunter2",
        "postgresql:host=db password=hunter2",
        "qdrant://db:6333?api-key=hunter2",
        "qdrant://db:6333?key=a/b&api_key=hunter2",
        "chroma+https://db?x-chroma-token=hunter2",
        "lancedb:s3://KEY:hunter2@bucket/lance",
        "lancedb:s3://bucket/lance?aws_secret_access_key=hunter2",
        "parquet:az://container/vectors?sas_token=hunter2",
        "parquet:az://container/vectors?sig=hunter2",
    ],
)
def test_what_lets_in_is_refused_and_not_shown(to: str) -> None:
    """Wherever it stands, and whatever letters it has."""
    with pytest.raises(ValueError, match="without a password or key") as refused:
        checked_target(to)
    for told in (str(refused.value), shown_target(to)):
        assert "hun" not in told
        assert "ter2" not in told


@pytest.mark.parametrize(
    ("to", "shown"),
    [
        ("postgresql://app@db:5432/photos?sslmode=verify-full&sslkey=/key.pem", "postgresql://db:5432/photos"),
        ("postgresql://one:5432,two:5432/photos?application_name=a@b", "postgresql://one:5432,two:5432/photos"),
        ("postgresql://?service=photos", "postgresql://"),
        ("postgresql:///photos?require_auth=scram-sha-256", "postgresql:///photos"),
        ("qdrant+https://db", "qdrant+https://db"),
        ("milvus:/data/vectors.db", "milvus:/data/vectors.db"),
        ("milvus://user@db:19530/photos", "milvus://db:19530/photos"),
        ("lancedb:s3://bucket/a:b@c", "lancedb:s3://bucket/a:b@c"),
        ("parquet:/data/vectors", "parquet:/data/vectors"),
    ],
)
def test_others_are_taken_and_shown_without_login_and_query(to: str, shown: str) -> None:
    """A port is no password."""
    assert checked_target(to) == to
    assert shown_target(to) == shown


@pytest.mark.parametrize("to", ["postgresql:db/photos", "qdrant:db:6333", "chroma:/data"])
def test_a_server_is_no_file(to: str) -> None:
    """Where slashes are forgotten it is told at once, rather than of a path of this machine."""
    with pytest.raises(ValueError, match="Expected the address of a server, as"):
        checked_target(to)
