"""What pyproject.toml cannot say: where the packages beside `pixelmill` lie in a wheel.

In the checkout `flows`, `tasks` and `settings` are importable. From a wheel they would take these names from other
people's `settings.py`, so they go into a folder that only Pixelmill's processes look into (`pixelmill/beside.py`).
"""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

BESIDE = "pixelmill._beside."


class Wheel(bdist_wheel):
    def run(self) -> None:
        packages = self.distribution.packages or []
        moved = [name for name in packages if name.partition(".")[0] != "pixelmill"]
        self.distribution.package_dir = {BESIDE + name: name.replace(".", "/") for name in moved}
        self.distribution.packages = [BESIDE + name if name in moved else name for name in packages]
        super().run()


setup(cmdclass={"bdist_wheel": Wheel})
