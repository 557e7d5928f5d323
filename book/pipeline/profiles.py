"""Profiles: named sets of parameter values for the whole book, in ``book/params/*.yml``."""

from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from book.pipeline.chapters import chapters, parameter_source, read_chapter, read_yaml
from book.pipeline.layout import Layout, UsageError
from book.pipeline.parameters import Parameter, Value, check_values, declared_parameters


@dataclass(frozen=True)
class Run:
    """A chapter together with the values it is to be run with."""

    chapter: str
    notebook: NotebookNode
    parameters: dict[str, Parameter]
    values: dict[str, Value]
    profile: str

    def changed(self) -> dict[str, Value]:
        """The values that differ from the defaults; only these are injected and shown."""
        return {n: v for n, v in self.values.items() if v != self.parameters[n].default}


def load_profile(layout: Layout, profile: str) -> dict[str, dict[str, Any]]:
    """The raw values of a profile: chapter -> {parameter: value}."""
    known = {path.stem: path for path in sorted(layout.profiles.glob("*.yml"))}
    if profile not in known:
        raise UsageError(f"there is no profile {profile!r}; PROFILE can be {', '.join(known)}")
    path = known[profile]
    content = read_yaml(layout, path) or {}
    if not isinstance(content, dict):
        raise UsageError(f"{layout.shown(path)} must map chapters to values")
    values = {str(name): given or {} for name, given in content.items()}
    unknown = [name for name in values if name not in chapters(layout)]
    if unknown:
        raise UsageError(f"{layout.shown(path)} names chapters that do not exist: {unknown}")
    for name, given in values.items():
        if not isinstance(given, dict):
            raise UsageError(f"{layout.shown(path)}: {name} must map parameters to values")
    return values


def plan_run(
    layout: Layout, chapter: str, profile: str, given: list[tuple[str, str]] | None = None
) -> Run:
    """A chapter with its values: the defaults, then the profile, then what was typed."""
    notebook = read_chapter(chapters(layout)[chapter])
    parameters = declared_parameters(parameter_source(notebook, chapter), chapter)
    from_profile = load_profile(layout, profile).get(chapter, {})
    try:
        profiled = check_values(chapter, parameters, list(from_profile.items()))
    except UsageError as error:
        raise UsageError(f"profile {profile!r}: {error}") from None
    typed = check_values(chapter, parameters, list(given or []))
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return Run(chapter, notebook, parameters, {**defaults, **profiled, **typed}, profile)


def plan_book(layout: Layout, profile: str) -> list[Run]:
    """A run for every chapter of the book; a mistake anywhere is found before anything runs."""
    return [plan_run(layout, chapter, profile) for chapter in chapters(layout)]
