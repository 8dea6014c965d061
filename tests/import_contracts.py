"""A rule of ``make lint`` that import-linter does not have: a room is imported by its face."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
from importlinter import Contract, ContractCheck, fields, output


class FaceContract(Contract):
    """An import from outside a package names the package, never a module in it.

    The package's ``__init__`` says what others may use; what it does not show may change without asking anybody.
    Modules of a package, and of the packages inside it, import each other directly.

    Options:
      packages: the root packages whose modules are held to it.
    """

    packages = fields.ListField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Collects every import past a face."""
        past = sorted(_past_a_face(graph, tuple(str(package) for package in self.packages)))
        return ContractCheck(kept=not past, metadata={"past": past})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line an import: where it stands, and the package to import from instead."""
        for importer, line, module in check.metadata["past"]:
            package = module.rpartition(".")[0]
            output.print_error(f"{importer}:{line} imports {module}; import the name from {package}", bold=False)


def _past_a_face(graph: grimp.ImportGraph, roots: tuple[str, ...]) -> Iterator[tuple[str, int, str]]:
    ours = [module for module in graph.modules if module.split(".")[0] in roots]
    packages = {module for module in ours if graph.find_children(module)}
    for importer in ours:
        home = importer if importer in packages else importer.rpartition(".")[0]
        for module in graph.find_modules_directly_imported_by(importer):
            package = module.rpartition(".")[0]
            if module in packages or package not in packages or f"{home}.".startswith(f"{package}."):
                continue
            for detail in graph.get_import_details(importer=importer, imported=module):
                # A module that its package shows is named by the package, too.
                if not detail["line_contents"].strip().startswith(f"from {package} import "):
                    yield importer, detail["line_number"], module
