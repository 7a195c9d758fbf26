"""What stands behind the panel in 3D Slicer: settings, the child process, installation, results.

`child` and `run` know neither Slicer nor Qt; `run_record` works on the scene alone; `installation`, `results_view` and
`samples` speak to the application. The widget that puts them together is in InnerEarAI.py.
"""
