"""Our own small host for the real Slicer libraries: it runs the module headless, for tests, demo and pictures.

`slicer-core` on PyPI is 3D Slicer's own C++ (scene, logics, file formats, displayable managers) without the Qt
application. This package sets that up as the application would (`runtime`), stands in for the parts of the application
that it lacks (`application`, `scripted_modules`) and draws slice and 3D views off-screen (`pictures`).
What runs here has run on Slicer's libraries, not in 3D Slicer.
"""
