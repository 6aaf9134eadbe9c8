"""Where settings come from, in which order, and what is refused."""

from pathlib import Path

import pytest

from app.config import (
    Config,
    child_environment,
    field_meanings,
    load_config,
    settings_table,
    user_data_folder,
)
from segmentation_backend.errors import InvalidInputError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(environment: dict[str, str] | None = None, **overrides: object) -> Config:
    return load_config(overrides, environment=environment or {})


def test_defaults_serve_this_machine_only() -> None:
    config = load()
    assert (config.host, config.port, config.workers) == ("127.0.0.1", 0, 2)
    assert config.data_dir == user_data_folder() / "mitoglance" / "data"


def test_the_file_the_environment_and_the_command_line_win_in_this_order(tmp_path: Path) -> None:
    (tmp_path / "mitoglance.toml").write_text('workers = 3\nport = 1\nhost = "a"\nuser = "x"')
    environment = {"MITOGLANCE_PORT": "2", "MITOGLANCE_HOST": "b", "OTHER": "1"}
    config = load(environment, host="c")
    assert (config.workers, config.port, config.host, config.user) == (3, 2, "c", "x")


def test_a_named_file_replaces_the_usual_one_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "mitoglance.toml").write_text("workers = 3")
    other = tmp_path / "other.toml"
    other.write_text("threads = 5")
    config = load_config(file=other, environment={})
    assert (config.workers, config.threads) == (2, 5)
    with pytest.raises(InvalidInputError, match=r"absent\.toml"):
        load_config(file=tmp_path / "absent.toml", environment={})


def test_a_default_data_folder_gives_way_to_every_other_word() -> None:
    fallback = Path("/somewhere")
    assert load_config(default_data_dir=fallback, environment={}).data_dir == fallback
    environment = {"MITOGLANCE_DATA_DIR": "/elsewhere"}
    config = load_config(default_data_dir=fallback, environment=environment)
    assert config.data_dir == Path("/elsewhere")


def test_paths_become_absolute_and_home_is_known(tmp_path: Path) -> None:
    assert load(data_dir="here").data_dir == tmp_path / "here"
    assert load(data_dir="~/x").data_dir == Path.home() / "x"


def test_packs_are_an_absolute_folder_or_an_address_as_it_is(tmp_path: Path) -> None:
    assert load().packs is None
    assert load(packs="here").packs == str(tmp_path / "here")
    assert load({"MITOGLANCE_PACKS": "~/x"}).packs == str(Path.home() / "x")
    assert load({"MITOGLANCE_PACKS": "s3://bucket/labels"}).packs == "s3://bucket/labels"


def test_an_empty_variable_is_unset() -> None:
    assert load({"MITOGLANCE_SCHEDULER": "", "MITOGLANCE_PORT": ""}).scheduler is None


@pytest.mark.parametrize(("text", "value"), [("1", True), ("no", False), ("TRUE", True)])
def test_the_environment_says_yes_and_no_in_words(text: str, value: bool) -> None:
    assert load({"MITOGLANCE_BROWSER": text}).browser is value


@pytest.mark.parametrize(
    "environment",
    [
        {"MITOGLANCE_COLOUR": "red"},
        {"MITOGLANCE_PORT": "many"},
        {"MITOGLANCE_PORT": "-1"},
        {"MITOGLANCE_BROWSER": "maybe"},
        {"MITOGLANCE_WORKERS": "0"},
        {"MITOGLANCE_LOG_LEVEL": "loud"},
        {"MITOGLANCE_DIRECT_READING": "maybe"},
        {"MITOGLANCE_CLOUD": "x"},
    ],
)
def test_an_unknown_or_impossible_variable_is_refused_by_name(environment: dict[str, str]) -> None:
    (variable,) = environment
    with pytest.raises(InvalidInputError, match=variable):
        load(environment)


@pytest.mark.parametrize("text", ["colour = 1", 'port = "80"', "workers = true", "= 3"])
def test_an_unknown_or_impossible_key_of_the_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mitoglance.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=r"mitoglance\.toml"):
        load()


def test_cloud_access_comes_from_the_clouds_own_variables() -> None:
    cloud = load(
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
    ).cloud
    assert (cloud.endpoint_url, cloud.region) == ("http://127.0.0.1:9", "eu-west-1")
    assert "hush" not in repr(cloud)


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MITOGLANCE_USER", "other")
    config = load(port=1234, data_dir="/x", browser=False, user="ana")
    environment = child_environment(config)
    assert load_config(environment=environment) == config
    assert environment["PATH"]


def test_every_setting_is_explained_and_in_the_table() -> None:
    meanings = field_meanings()
    assert set(meanings) == set(Config.__dataclass_fields__)
    table = settings_table()
    for name in set(Config.__dataclass_fields__) - {"cloud"}:
        assert f"| `{name}` |" in table
        assert f"`MITOGLANCE_{name.upper()}`" in table
    assert str(Path.home()) not in table
