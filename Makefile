# The ways in for a newcomer: make demo, make test. Everything they install goes into .venv, pinned by requirements.txt.
# All paths are relative, so that the folder may lie anywhere, also under a name with a space.

SCAN ?=
OUT ?= demo-output
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$candidate && break; done)
RUN = PYTHONPATH=InnerEarAI:Testing .venv/bin/python

.PHONY: demo test test-slow lint package-lists pictures clean

demo: .venv/installed
	@$(RUN) -m host.demo $(if $(SCAN),"$(SCAN)") -o "$(OUT)"

# Two processes, a file to each: most tests keep one core busy.
test: .venv/installed
	@$(RUN) -m pytest -n 2 --dist loadfile

test-slow: .venv/installed
	@$(RUN) -m pytest -m slow

lint: .venv/installed
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .

package-lists: .venv/installed
	@$(RUN) -m host.packaging

pictures: .venv/installed
	@$(RUN) -m host.panel_pictures Resources InnerEarAI/Resources/Icons
	@$(RUN) -m host.unusual_ears Resources/unusual_ears.png

clean:
	rm -rf .venv demo-output

# The stamp is newer than the list of packages when they are installed: then nothing asks the network.
.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed (slicer-core has no package for others)." \
	"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { echo "Python's venv module is needed (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing the packages of requirements.txt into .venv (once; 2.6 GB, several GiB more with CUDA)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
