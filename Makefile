# make run   sets up what is missing and opens the app       (PORT=8501)
# make test  sets up what is missing and runs every test     (ARGS= for pytest)
# make check looks at the code without running it: format, lint, types, layers (all in seconds, types in a minute)
# make unit  the tests without the browser and without what is marked slow; make clean removes what set-up made
# make audit asks which packages have known weaknesses (needs the network; SECURITY.md says what is known)
# make lock  chooses the newest versions of all packages anew, with their hashes

PORT ?= 8501
ARGS ?=
# The oldest first: the golden numbers are checked on it most often, and every package has a wheel for it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& command -v "$$p" && break; done)

# A browser opens by itself only where there is a desktop to open it on.
HEADLESS := $(if $(SSH_CONNECTION),true,$(if $(DISPLAY)$(WAYLAND_DISPLAY),false,true))

.PHONY: help run test check unit audit lock clean
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

audit:
	@$(call ready,unit)
	@grep '^torch==' requirements.txt > .venv/.torch.txt
	@.venv/bin/uv tool run pip-audit --strict --disable-pip --no-deps -r requirements.lock -r .venv/.torch.txt $(ARGS)

lock:
	@$(call ready,unit)
	@.venv/bin/python scripts/make_lock.py

clean:
	rm -rf .venv .venv-discarded .set-up.lock data/mini-lm data/ready .pytest_cache

# $(call ready,PURPOSE): one sentence and a stop where Python is missing, otherwise scripts/get_ready.py.
define ready
if [ -z "$(PYTHON)" ]; then \
	echo "Python 3.11 to 3.14 is needed: install python3 and python3-venv, or name one with PYTHON=." >&2; \
	exit 1; fi; "$(PYTHON)" scripts/get_ready.py $(1)
endef
