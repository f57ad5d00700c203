"""This module makes the materials from which the formats of a run are converted."""

from __future__ import annotations

from tledge.datasets.run_photos import members
from tledge.exporters.format import Format
from tledge.exporters.options import Options
from tledge.exporters.preparations import Material
from tledge.exporters.preparations.sources import Sources
from tledge.exporters.representative import require_photos
from tledge.progress import Progress
from tledge.run import Run


class Materials:
    """``Materials`` makes the materials of one run, each once for all formats that share it."""

    def __init__(self, run: Run, options: Options, progress: Progress) -> None:
        self.sources = Sources(run, options, progress)

    def of(self, form: Format) -> Material | None:
        """Return the material of a format, which is made at the first call. None where the SavedModel alone is converted.

        Raises InputError where the network can't be prepared for the format.
        """
        return self.sources.once(form.preparation.make, self._bounds_pairs(form)) if form.preparation else None

    def has(self, form: Format) -> bool:
        """Tell whether the material of a format is made already."""
        return form.preparation is not None and self.sources.has(form.preparation.make, self._bounds_pairs(form))

    def require(self, form: Format) -> None:
        """Raise InputError where a format can't be made, as far as that is known before a preparation, which may take hours."""
        if form.preparation is not None:
            require_photos(len(members(self.sources.run, "train")))
            form.preparation.require(self.sources, form.name)

    def _bounds_pairs(self, form: Format) -> bool:
        return form.saturates and self.sources.options.int8_saturates
