import pytest

from guardproxy.config.read import read_settings
from guardproxy.config.settings import Settings
from guardproxy.offline.evaluate.choice import UnknownGuard, build_with


def guards(settings: Settings, *names: str) -> list[str]:
    build = build_with(settings, names or None)
    try:
        return [guard.name for guard in build.runtime.guards]
    finally:
        build.close_models()


@pytest.fixture
def settings() -> Settings:
    return read_settings()


def test_only_those_named_are_asked(settings: Settings) -> None:
    assert guards(settings, "rules") == ["rules"]
    assert guards(settings, "declared_tools", "rules") == ["rules", "declared_tools"]


def test_unnamed_it_is_those_of_the_configuration(settings: Settings) -> None:
    off = settings.guards.classifier.model_copy(update={"enabled": False})
    without = settings.model_copy(update={"guards": settings.guards.model_copy(update={"classifier": off})})
    assert guards(without) == ["rules", "declared_tools"]
    assert guards(without, "classifier") == ["classifier"]


def test_provenance_is_the_classifier_without_llama_cpp(settings: Settings) -> None:
    build = build_with(settings, ["provenance"])
    assert build.models == []
    assert [guard.name for guard in build.runtime.guards] == ["classifier"]


def test_an_unknown_name_is_refused_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(UnknownGuard, match=r"'oracle' is no guard.*rules, declared_tools, classifier"):
        build_with(settings, ["rules", "oracle"])
