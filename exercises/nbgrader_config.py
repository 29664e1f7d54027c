"""Settings for nbgrader: copy this file into the course folder, beside source/ and submitted/.

nbgrader puts a check back that a student has changed, but not one that was deleted: its points were
lost, for a right answer too. With these settings it puts back whatever is locked: the checks, and
the cells that import what the answers need.
"""

from nbformat import NotebookNode, from_dict
from nbgrader import preprocessors as steps
from traitlets import Bool

c = get_config()  # noqa: F821


class PutBackCells(steps.OverwriteCells):
    """Puts back locked cells that were changed, and those that were deleted.

    nbgrader's own option add_missing_cells fails if the answer was deleted along with its check.
    """

    add_missing_cells = Bool(True).tag(config=True)

    def add_missing_grade_cells(
        self, nb: NotebookNode, resources: dict
    ) -> tuple[NotebookNode, dict]:
        """Put each missing cell behind the one that it follows in the source."""
        source = self.gradebook.find_notebook(self.notebook_id, self.assignment_id)
        points = {cell.name: cell.max_score for cell in source.grade_cells}
        after = 0
        for cell in source.source_cells:
            places = [
                place
                for place, other in enumerate(nb.cells)
                if other.metadata.get("nbgrader", {}).get("grade_id") == cell.name
            ]
            if places:
                after = places[0] + 1
            elif cell.name in points or cell.locked:
                made = from_dict(self.missing_cell_transform(cell, points.get(cell.name, 0)))
                made["id"] = cell.name
                if cell.name not in points:
                    made["metadata"]["nbgrader"]["grade"] = False
                    del made["metadata"]["nbgrader"]["points"]
                nb.cells.insert(after, made)
                after += 1
        return nb, resources


c.Autograde.sanitize_preprocessors = [
    steps.ClearOutput,
    steps.DeduplicateIds,
    steps.OverwriteKernelspec,
    PutBackCells,
    steps.CheckCellMetadata,
]
