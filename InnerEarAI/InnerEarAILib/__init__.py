"""InnerEarAI's library: labyrinth segmentation and landmarks in CT, plain Python.

The library has floors: a module may import from those below its own, never from those above. `volume`, `landmarks` and
`progress` are the ground; above them come the scan's way to a network (`preprocessing`, `networks`, `model_store`,
`inference`), the route (`segmenter`), its files, and on top what a user meets (`mrml`, `worker`, `cli`, `panel`). The
side wings `phantom`, `training`, `evaluation` and `benchmark` stand on these floors; nothing that runs at a click
imports them. Which module stands on which floor is said in one place, the contracts of import-linter in pyproject.toml,
which the tests hold it to.

Nothing is imported here, so that `import InnerEarAILib` costs nothing.
"""

__version__ = "0.1.0"
