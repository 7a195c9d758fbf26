"""What stands behind the panel in 3D Slicer: settings, the child process, installation, results.

`panel` puts the parts together. `controls` and `hints`: what is chosen, and what it means. `run`, `child`, `computer*`
and `probe`: what computes. `run_record`, `drawn_segments`, `scan_motion`, `corrections` and `saving`: what was found,
in the scene and as files, without Qt; `results_view` shows it. `installation` and `samples` speak to the application,
`self_test` makes up what the module tests itself with, `wording` puts what the library says into the user's language.
"""
