"""The wheel holds one package, ``proxyano``, so that it shadows no ``models`` or ``assets`` of a user.

An editable install keeps the folders of the repository as they are. For the wheel each becomes a part of ``proxyano``,
and imports are rewritten to match.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PARTS = ("pipeline", "assets", "models")
DATA = {
    "pipeline.reports": ["glossary.md", "templates/*.j2", "templates/*.css", "templates/*.js"],
    "pipeline.evaluation": ["reviewed/*.csv"],
    "pipeline.wiring": ["*.yaml"],
}
IMPORTS = {
    rf"^(\s*)from ({'|'.join(PARTS)})(?=[. ])": r"\1from proxyano.\2",
    rf"^(\s*)import ({'|'.join(PARTS)})$": r"\1from proxyano import \2",
    r'"(pipeline\.(?:cli|definitions))"': r'"proxyano.\1"',  # names of modules that commands start
}


def inside(source: str) -> str:
    """Source code with its imports as those of parts of ``proxyano``."""
    for pattern, wanted in IMPORTS.items():
        source = re.sub(pattern, wanted, source, flags=re.MULTILINE)
    return source


class OnePackage(build_py):
    """Copies modules with rewritten imports; ``proxyano.py`` becomes the package itself."""

    def build_module(self, module, module_file, package):
        """Copy one module and rewrite it."""
        outfile, copied = super().build_module(module, module_file, package)
        if not self.editable_mode:
            Path(outfile).write_text(inside(Path(outfile).read_text(encoding="utf-8")), encoding="utf-8")
        return outfile, copied

    def run(self):
        """Build the parts, then the package around them."""
        super().run()
        if not self.editable_mode:
            code = Path(__file__).with_name("proxyano.py").read_text(encoding="utf-8")
            (Path(self.build_lib) / "proxyano" / "__init__.py").write_text(inside(code), encoding="utf-8")


packages = find_packages(include=[f"{part}*" for part in PARTS])
if any("editable" in word for word in sys.argv):
    setup(packages=packages, py_modules=["proxyano"], package_data=DATA)
else:
    setup(
        packages=[f"proxyano.{name}" for name in packages],
        package_dir={f"proxyano.{part}": part for part in PARTS},
        package_data={f"proxyano.{name}": files for name, files in DATA.items()},
        cmdclass={"build_py": OnePackage},
    )
