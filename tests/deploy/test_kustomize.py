import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from guardproxy.config.contradictions import contradictions
from guardproxy.config.expand import expand
from guardproxy.config.settings import Settings

KUSTOMIZE = Path(__file__).parents[2] / "deploy" / "kustomize"
FORMS = {
    "gateway": (KUSTOMIZE / "base" / "deployment.yaml", "containers"),
    "sidecar": (KUSTOMIZE / "components" / "sidecar" / "sidecar.yaml", "initContainers"),
}
CONFIGURATIONS = {"gateway": KUSTOMIZE / "base", "sidecar": KUSTOMIZE / "components" / "sidecar"}

form = pytest.mark.parametrize("form", FORMS)


def pod_of(form: str) -> dict[str, Any]:
    return yaml.safe_load(FORMS[form][0].read_text())["spec"]["template"]  # type: ignore[no-any-return]


def proxy_of(form: str) -> dict[str, Any]:
    (container,) = pod_of(form)["spec"][FORMS[form][1]]
    return container  # type: ignore[no-any-return]


def settings_of(form: str, tmp_path: Path) -> Settings:
    """As the container reads its file, with the Secret mounted."""
    for name in ("client-key", "upstream-key", "audit-key"):
        (tmp_path / name).write_text(f"some-{name}-0123456789")
    text = (CONFIGURATIONS[form] / "guardproxy.yaml").read_text().replace("/etc/guardproxy-secrets", str(tmp_path))
    tree, problems = expand(yaml.safe_load(text), {}, tmp_path)
    assert problems == {}
    return Settings.model_validate(tree, context={"directory": "/etc/guardproxy"})


@form
def test_the_container_may_do_nothing_but_its_work(form: str) -> None:
    pod, container = pod_of(form)["spec"], proxy_of(form)
    security = pod.get("securityContext", {}) | container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == 65532
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "cpu" not in container["resources"]["limits"]
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@form
def test_probes_ask_the_admin_port(form: str, tmp_path: Path) -> None:
    container = proxy_of(form)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listen = settings_of(form, tmp_path).listen
    assert ports["gp-admin"] == listen.admin_port
    assert listen.admin_host == "0.0.0.0"  # a probe comes from outside the pod
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert {container[name]["httpGet"]["port"] for name in paths} == {"gp-admin"}
    assert all(len(name) <= 15 for name in ports)


@form
def test_the_configuration_is_one_that_starts(form: str, tmp_path: Path) -> None:
    assert list(contradictions(settings_of(form, tmp_path))) == []


def test_only_the_gateway_is_reached_from_outside_and_asks_for_a_key(tmp_path: Path) -> None:
    gateway, sidecar = settings_of("gateway", tmp_path).listen, settings_of("sidecar", tmp_path).listen
    assert (gateway.host, len(gateway.client_keys)) == ("0.0.0.0", 1)
    assert (sidecar.host, sidecar.client_keys) == ("127.0.0.1", ())
    assert [port["name"] for port in proxy_of("sidecar")["ports"]] == ["gp-admin"]


@form
def test_what_the_configuration_names_is_mounted(form: str, tmp_path: Path) -> None:
    pod, container = pod_of(form)["spec"], proxy_of(form)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    assert not any("subPath" in mount for mount in mounts.values())
    assert container["args"] == ["serve", "--config", "/etc/guardproxy"]
    assert "configMap" in volumes[mounts["/etc/guardproxy"]["name"]]
    assert volumes[mounts["/etc/guardproxy-secrets"]["name"]]["secret"]["secretName"] == "guardproxy"
    audit = settings_of(form, tmp_path).audit
    assert str(Path(str(audit.path)).parent) in mounts
    size = volumes[mounts["/var/lib/guardproxy"]["name"]]["emptyDir"]["sizeLimit"]
    assert audit.max_bytes * (audit.backups + 1) < int(size.removesuffix("Mi")) * 2**20


@form
def test_the_configuration_and_the_config_map_agree(form: str) -> None:
    kustomization = yaml.safe_load((CONFIGURATIONS[form] / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    mounted = next(v["configMap"]["name"] for v in pod_of(form)["spec"]["volumes"] if "configMap" in v)
    assert (generator["name"], generator["files"]) == (mounted, ["guardproxy.yaml"])
    options = generator.get("options") or kustomization["generatorOptions"]
    assert options == {"disableNameSuffixHash": True}


def test_the_sidecar_is_a_native_one() -> None:
    assert proxy_of("sidecar")["restartPolicy"] == "Always"
    assert "containers" not in pod_of("sidecar")["spec"]


@form
def test_the_pod_monitor_finds_the_pods(form: str) -> None:
    monitor = yaml.safe_load((KUSTOMIZE.parent / "prometheus" / "podmonitor.yaml").read_text())
    labels = monitor["spec"]["selector"]["matchLabels"]
    assert labels.items() <= pod_of(form)["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for port in proxy_of(form)["ports"]]
    assert endpoint["path"] == "/metrics"


def test_the_example_agent_asks_the_sidecar_and_has_no_key() -> None:
    agent = yaml.safe_load((KUSTOMIZE / "example" / "agent.yaml").read_text())
    component = yaml.safe_load((KUSTOMIZE / "components" / "sidecar" / "kustomization.yaml").read_text())
    label, value = component["patches"][0]["target"]["labelSelector"].split("=")
    assert agent["metadata"]["labels"][label] == value
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {
        "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1",
        "OPENAI_API_KEY": "none",
    }


def test_every_kustomization_names_files_that_are_there() -> None:
    for file in KUSTOMIZE.rglob("kustomization.yaml"):
        for name in named_files(yaml.safe_load(file.read_text())):
            assert (file.parent / name).exists(), f"{file}: {name}"


def named_files(kustomization: dict[str, Any]) -> Iterator[str]:
    yield from kustomization.get("resources", [])
    yield from kustomization.get("components", [])
    yield from (patch["path"] for patch in kustomization.get("patches", []))
    for generator in kustomization.get("configMapGenerator", []):
        yield from generator["files"]


def build(overlay: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(KUSTOMIZE / overlay)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(yaml.safe_load_all(built.stdout))


needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@needs_kubectl
def test_the_component_adds_the_sidecar_and_nothing_else() -> None:
    (deployment,) = [item for item in build("example") if item["kind"] == "Deployment"]
    agent = yaml.safe_load((KUSTOMIZE / "example" / "agent.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,) = pod.pop("initContainers")
    assert sidecar["name"] == "guardproxy"
    assert sidecar["image"] == "guardproxy:0.1.0"
    assert len(pod.pop("volumes")) == 3
    assert pod == agent["spec"]["template"]["spec"]


@needs_kubectl
@pytest.mark.parametrize("overlay", ["base", "example"])
@pytest.mark.skipif(shutil.which("kubernetes-validate") is None, reason="kubernetes-validate (PyPI) is not installed")
def test_the_built_objects_fit_the_schemas_of_kubernetes(overlay: str, tmp_path: Path) -> None:
    built = tmp_path / "built.yaml"
    built.write_text(yaml.safe_dump_all(build(overlay)))
    command = ["kubernetes-validate", "-k", "1.37.0", "--strict", str(built)]
    check = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout + check.stderr
