"""InnerEarAI's library: labyrinth segmentation and landmarks in CT, plain Python.

Floors, from the ground up (an upper one may import a lower one, never the reverse; import-linter holds it in the
tests): `volume, landmarks, progress, json_lines` < `scan_checks, segmenter_options` < `dicom_series` <
`scan_files, ear_result` < `preprocessing, networks` < `model_store` < `inference` < `segmenter, time_estimate` <
`labyrinth_files, landmark_files, scan_result_files` < `result_files` < `mrml, worker` < `cli, panel`. The side wings
`phantom`, `training` and `evaluation` stand on these floors; nothing that runs at a click imports them. Nothing is
imported here, so that `import InnerEarAILib` costs nothing.
"""

__version__ = "0.1.0"
