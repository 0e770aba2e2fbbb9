"""``deploy/``: what can be checked without Docker and Kubernetes.

Nothing here builds the image or starts a container. The keys of the Helm values are compared with a list taken from
chart 1.13 by hand, as no package registry has that chart's own schema.
"""

import json
import re
import warnings
from importlib import resources
from pathlib import Path

import click
import jsonschema
import pytest
import yaml
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import create_dagster_webserver_cli

from pipeline.wiring.executors import EXECUTORS
from pipeline.wiring.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY, WIRING = PROJECT / "deploy", PROJECT / "pipeline" / "wiring"
SCHEMA = json.loads((resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
HELM = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
SETTINGS = {str(field.validation_alias) for field in Settings.model_fields.values()}


def mlflow_cli() -> click.Group:
    """MLflow's command, whose import warns of MLflow's own classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.cli import cli

    return cli


OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "proxyano"}
TOOLS = {
    "dagster": create_dagster_cli,
    "dagster-daemon": create_dagster_daemon_cli,
    "dagster-webserver": create_dagster_webserver_cli,
    "mlflow": mlflow_cli,
}
DEPLOYMENT = {"name", "image", "dagsterApiGrpcArgs", "port", "includeConfigInLaunchedRuns", "env", "envSecrets"}
DEPLOYMENT |= {"volumes", "volumeMounts"}
CHART = {
    "global": ["postgresqlSecretName"],
    "generatePostgresqlPasswordSecret": None,
    "postgresql": ["enabled", *(f"postgresql{name}" for name in ("Host", "Username", "Database", "Scheme"))],
    "dagster-user-deployments": ["enabled", "deployments"],
    "runLauncher": ["type", "config"],
    "dagsterDaemon": ["runMonitoring"],
    "concurrency": ["enabled", "pools"],
    "telemetry": ["enabled"],
}
"""Keys of the chart that the values may use."""


def options(command: click.Command, words: list[str]) -> dict[str, object]:
    """Options of a command line as the tool itself reads them; click's error for one that it refuses."""
    context = command.make_context(str(command.name), list(words))
    if not isinstance(command, click.Group):
        return context.params
    _, sub, rest = command.resolve_command(context, list(words))
    assert sub is not None
    return options(sub, rest)


def module(name: str) -> str:
    """A module of the wheel, which the image has, by its name in the repository."""
    assert name.startswith("proxyano.")
    return name.removeprefix("proxyano.")


def test_the_compose_file_has_the_form_of_the_specification():
    jsonschema.validate(COMPOSE, SCHEMA)
    wrong = COMPOSE | {"services": COMPOSE["services"] | {"code": {"image": "proxyano", "comand": []}}}
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_every_command_of_the_image_is_one_that_the_tool_takes(name):
    (here, there) = re.findall(r"^COPY (deploy/\S+) (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[0]
    tool, *words = [word.replace(there, str(PROJECT / here)) for word in OURS[name]["command"]]
    found = options(TOOLS[tool](), words)
    check = OURS[name].get("healthcheck", {}).get("test", [])
    if check:
        assert options(TOOLS[check[1]](), check[2:])["port"] == found["port"]


def test_the_parts_of_the_compose_file_fit_together():
    services = COMPOSE["services"]
    assert {"database", "objects", "mlflow", "code", "webserver", "daemon"} == set(services)
    code = options(TOOLS["dagster"](), services["code"]["command"][1:])
    (place,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    assert place["grpc_server"] == {"host": "code", "port": code["port"], "location_name": "proxyano"}
    assert module(code["module_name"]) == "pipeline.definitions"
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        for variable, value in service["environment"].items():
            assert "PASSWORD" not in variable or value.startswith("${"), "no password in a file"
            assert variable in SETTINGS or not variable.startswith("PROXYANO_")
            hosts = re.findall(r"(?:@|http://)([a-z]+)[:/]", value)
            assert set(hosts) <= set(services), (variable, value)
    assert services["code"]["environment"]["PROXYANO_EXECUTOR"] in EXECUTORS


def test_the_instance_is_that_of_the_project_and_dagster_takes_it(tmp_path, monkeypatch):
    from dagster._core.instance.config import dagster_instance_config

    monkeypatch.setenv("PROXYANO_DATABASE", "postgresql+psycopg2://user:password@host/dagster")
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    found, _ = dagster_instance_config(str(tmp_path))
    for part in ("dagster.yaml", "postgres.yaml"):
        for key, value in yaml.safe_load((WIRING / part).read_text()).items():
            assert value.items() <= found[key].items(), key
    (tmp_path / "dagster.yaml").write_text("storage:\n  postgress: {}\n")
    with pytest.raises(Exception, match="postgress"):
        dagster_instance_config(str(tmp_path))


def test_the_image_sets_the_variables_of_activate_and_holds_the_packages():
    text = (DEPLOY / "Dockerfile").read_text()
    activate = dict(re.findall(r"^export (\w+)=(?:\"\$\{\w+:-)?([^\"}\n]*)", (PROJECT / "activate").read_text(), re.M))
    expected = {name: value for name, value in activate.items() if "$" not in value and name != "PYTHONWARNINGS"}
    expected["DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME"] = "proxyano.pipeline.definitions"
    assert len(expected) == 6
    assert expected.items() <= dict(re.findall(r"([A-Z_]+)=(\S+)", text)).items()
    for words in re.findall(r"^COPY (.+) \S+$", text, re.M):
        assert all((PROJECT / word).exists() for word in words.split())


def test_the_helm_values_use_keys_of_the_chart_and_the_image_of_the_compose_file():
    for key, value in HELM.items():
        assert CHART[key] is None or set(value) <= set(CHART[key]), key
    (deployment,) = HELM["dagster-user-deployments"]["deployments"]
    assert set(deployment) <= DEPLOYMENT
    code = options(create_dagster_cli(), ["api", "grpc", *deployment["dagsterApiGrpcArgs"], "--port", "1"])
    assert module(code["module_name"]) == "pipeline.definitions"
    assert set(deployment["env"]) <= SETTINGS
    assert deployment["env"]["PROXYANO_EXECUTOR"] in EXECUTORS
    (mount,), (volume,) = deployment["volumeMounts"], deployment["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], deployment["env"]["PROXYANO_HOME"])
    pools = yaml.safe_load((WIRING / "dagster.yaml").read_text())["concurrency"]["pools"]
    assert HELM["concurrency"]["pools"] == {"defaultLimit": pools["default_limit"], "granularity": pools["granularity"]}
