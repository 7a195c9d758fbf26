"""Our own small host for the real Slicer libraries: it runs the module headless, for tests, demo and pictures.

`slicer-core` on PyPI is 3D Slicer's own C++ (scene, logics, file formats, displayable managers) without the Qt
application. This package sets that up as the application would (`runtime`), stands in for the parts of the application
that it lacks (`application`, `scripted_modules`, `parameter_nodes`) and draws slice and 3D views off-screen
(`pictures`). For the panel there are stand-ins for PythonQt (`pythonqt`) and for Slicer's widgets (`slicer_widgets`)
on PySide6, and a window that opens it (`panel_window`).
What runs here has run on Slicer's libraries, not in 3D Slicer.
"""
