# make run   sets up what is missing and opens the app       (PORT=8501)
# make test  sets up what is missing and runs every test     (ARGS= for pytest)
# make check looks at the code without running it: format, lint, types, layers (all in seconds, types in a minute)
# make unit  the tests without the browser and without what is marked slow; make clean removes what set-up made

PORT ?= 8501
ARGS ?=
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& command -v "$$p" && break; done)

# A browser opens by itself only where there is a desktop to open it on.
HEADLESS := $(if $(SSH_CONNECTION),true,$(if $(DISPLAY)$(WAYLAND_DISPLAY),false,true))

.PHONY: help run test check unit clean
help:
	@sed -n 's/^# //p' Makefile

run:
	@$(call ready,app)
	@echo "Opening the app at http://localhost:$(PORT) (Ctrl-C ends it)"
	@exec .venv/bin/python -m streamlit run app.py --server.port "$(PORT)" --server.headless $(HEADLESS) \
		--server.showEmailPrompt false --browser.serverAddress localhost --browser.gatherUsageStats false

test:
	@$(call ready,test)
	@CHROMIUM="$$(cat .venv/.browser)" .venv/bin/python -m pytest $(ARGS)

check:
	@$(call ready,unit)
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m mypy
	@.venv/bin/lint-imports --no-logo

unit:
	@$(call ready,unit)
	@.venv/bin/python -m pytest -m "not browser and not slow" $(ARGS)

clean:
	rm -rf .venv .venv-discarded .set-up.lock data/mini-lm .pytest_cache

# $(call ready,PURPOSE): one sentence and a stop where Python is missing, otherwise scripts/get_ready.py.
define ready
if [ -z "$(PYTHON)" ]; then \
	echo "Python 3.11 is needed (3.12 works too): install python3.11 and python3.11-venv, or name one with PYTHON=." >&2; \
	exit 1; fi; "$(PYTHON)" scripts/get_ready.py $(1)
endef
